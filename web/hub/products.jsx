// products.jsx -- which programs report, in which versions, and how their sessions end.
import { get } from '../shared/api.js';
import { useLoad } from '../shared/load.js';
import { Empty, Problem, Waiting } from '../shared/ui.jsx';

export function Products() {
	const { data, error, again } = useLoad((signal) => get('/api/data/products', null, signal), [], () => 5000);
	if (error) return <Problem error={error} again={again} />;
	if (!data) return <Waiting />;
	if (!data.items.length) return <Empty title="No session has been sent yet" />;
	return <pre>{JSON.stringify(data, null, 1)}</pre>;
}
