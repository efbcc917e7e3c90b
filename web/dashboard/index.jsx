// index.jsx -- the daemon's dashboard, at the root of the admin listener.
import { render } from 'preact';
import { get } from '../shared/api.js';
import { Layout } from '../shared/layout.jsx';
import { useLoad } from '../shared/load.js';
import { Waiting } from '../shared/ui.jsx';

function Dashboard() {
	const { data } = useLoad((signal) => get('/api/v1/status', null, signal), [], () => 2000);
	return (
		<Layout name="weir" server="The daemon" ways={[{ href: '#/', name: 'Overview', here: true }]} title="Overview"
			keyHelp="It is in the file that admin.token_file names.">
			{data ? <pre>{JSON.stringify(data, null, 1)}</pre> : <Waiting />}
		</Layout>
	);
}

render(<Dashboard />, document.getElementById('app'));
