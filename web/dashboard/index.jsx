// index.jsx -- the daemon's dashboard, at the root of the admin listener.
//
// One status for all views, asked for every two seconds; what only one view needs, that view asks for. What the daemon
// does not have (a service that is not configured) is in no menu.
import { render } from 'preact';
import { get } from '../shared/api.js';
import { Layout } from '../shared/layout.jsx';
import { useLoad } from '../shared/load.js';
import { href, match, route } from '../shared/router.js';
import { Empty, Problem, Waiting } from '../shared/ui.jsx';
import { Entry } from './entry.jsx';
import { Mirrors } from './mirrors.jsx';
import { Outbox } from './outbox.jsx';
import { Overview } from './overview.jsx';
import { Repositories } from './repos.jsx';
import { Sessions } from './sessions.jsx';
import './dashboard.css';

const stuck = (status) => (status.outbox?.conflict || 0) + (status.outbox?.held || 0);

// [path, name, view, is there, how many need somebody]; without a name: no way leads there from the top.
const views = [
	['/', 'Overview', Overview, () => true],
	['/repositories', 'Repositories', Repositories, (s) => s.git],
	['/mirrors', 'Mirrors', Mirrors, (s) => s.mirror?.mirrors?.length],
	['/outbox', 'Outbox', Outbox, (s) => s.outbox?.queues?.length, stuck],
	['/outbox/*', null, Entry, () => true],
	['/sessions', 'Sessions', Sessions, (s) => s.sessions],
];

function Lost() {
	return <Empty title="There is no such page"><p><a href="#/">To the overview</a></p></Empty>;
}

function Dashboard() {
	const { path, params } = route.use();
	const { data: status, error, again } = useLoad((signal) => get('/api/v1/status', null, signal), [], () => 2000);
	const found = views.map(([pattern, name, View]) => ({ name, View, parts: match(pattern, path) })).find((v) => v.parts);
	const View = found?.View || Lost;
	const ways = views.filter(([, name, , there]) => name && status && there(status)).map(([pattern, name, , , urgent]) => ({
		href: href(pattern), here: path === pattern || (pattern !== '/' && path.startsWith(pattern + '/')),
		name: urgent?.(status) ? <>{name}<span class="urgent">{urgent(status)}<span class="hidden"> need you</span></span></> : name,
	}));
	return (
		<Layout name="weir" server="The daemon" ways={ways} title={found?.name || (found ? 'Entry' : 'No such page')}
			keyHelp="It is the first line of the file that admin.token_file names on the daemon's machine.">
			{error && <Problem error={error} again={again} />}
			{status ? <View key={found?.parts?.[0]} id={found?.parts?.[0]} params={params} status={status} again={again} />
				: !error && <Waiting />}
		</Layout>
	);
}

render(<Dashboard />, document.getElementById('app'));
