// products.jsx -- which programs report, in which versions, and how their sessions go.
import { get } from '../shared/api.js';
import { Ago, count, percent, plural } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { change, href } from '../shared/router.js';
import { Empty, Problem, Search, Table, Waiting } from '../shared/ui.jsx';

// The shares of states, as a bar of coloured stretches. The numbers stand beside it.
function Shares({ p }) {
	const parts = [['ok', p.active], ['warn', p.suspended], ['idle', p.ended], ['bad', p.crashed]];
	const total = parts.reduce((sum, [, n]) => sum + n, 0);
	let x = 0;
	return (
		<svg class="shares" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">
			{parts.map(([tone, n]) => {
				const width = total ? (100 * n) / total : 0, from = x;
				x += width;
				return <rect key={tone} class={tone} x={from} y="0" width={width} height="8" />;
			})}
		</svg>
	);
}

function Number({ p, n, what }) {
	if (!n) return <span class="muted">0</span>;
	return (
		<a href={href('/sessions', { product: p.product, version: p.version, ...what })}
			aria-label={`${plural(n, 'session')} of ${p.product} ${p.version}, ${Object.values(what)[0] || 'all'}`}>
			{count(n)}
		</a>
	);
}

// The server sorts by name; other orders are few enough to be made here.
const orders = {
	sessions: (p) => p.sessions, active: (p) => p.active, crashed: (p) => p.crashed, rate: (p) => p.crashed / p.sessions,
	last: (p) => Date.parse(p.last_created_at),
};

const columns = [
	{ key: 'product', title: 'Product', sort: 'product', first: 'asc', class: 'break', value: (p) => (
		<a class="strong" href={href('/sessions', { product: p.product })}>{p.product}</a>
	) },
	{ key: 'version', title: 'Version', class: 'break', value: (p) => (
		<a href={href('/sessions', { product: p.product, version: p.version })}>{p.version}</a>
	) },
	{ key: 'shares', title: '', class: 'wide', value: (p) => <Shares p={p} /> },
	...[['sessions', 'Sessions', {}], ['active', 'Active', { state: 'active' }], ['suspended', 'Suspended', { state: 'suspended' }],
		['hung', 'Hung', { hung: 'now' }], ['ended', 'Ended', { state: 'ended' }], ['crashed', 'Crashed', { state: 'crashed' }],
	].map(([key, title, what]) => ({
		key, title, align: 'right', sort: orders[key] && key, value: (p) => <Number p={p} n={p[key]} what={what} />,
	})),
	{ key: 'rate', title: 'Crash rate', align: 'right', sort: 'rate', value: (p) => percent(p.crashed / p.sessions) },
	{ key: 'last', title: 'Last started', align: 'right', sort: 'last', class: 'nowrap', value: (p) => <Ago t={p.last_created_at} /> },
];

function Welcome() {
	const at = new URL('./api/sessions', location.href).href;
	return (
		<Empty title="No session has been sent yet">
			<p>Programs report to the daemon beside them (<code>weir serve</code>, with <code>sessions.server</code> set to this
				hub), through a client of DataCat or by plain HTTP. To see a first one here, start a session by hand:</p>
			<pre>{`curl -d '{"product": "editor", "version": "2.1"}' ${at}`}</pre>
		</Empty>
	);
}

const FEW = 12; // below that nobody needs a search

export function Products({ params }) {
	const { data, error, again } = useLoad((signal) => get('/api/data/products', null, signal), [], () => 5000, undefined, 'products');
	const all = data?.items || [], order = orders[params.sort], wanted = (params.find || '').toLowerCase();
	const items = all.filter((p) => `${p.product} ${p.version}`.toLowerCase().includes(wanted));
	if (order) items.sort((a, b) => (order(b) - order(a)) * (params.order === 'asc' ? -1 : 1));
	else if (params.order === 'desc') items.reverse();
	const sort = { by: params.sort || 'product', order: params.order || (order ? 'desc' : 'asc') };
	const total = (key) => items.reduce((sum, p) => sum + p[key], 0);
	return (
		<>
			<div class="head">
				<h1>Products</h1>
				{all.length > FEW && <Search label="Product or version" value={params.find} onValue={(find) => change({ find }, true)} wait={100} />}
				{items.length > 0 && (
					<p class="muted end">
						{plural(new Set(items.map((p) => p.product)).size, 'product')}, {plural(total('sessions'), 'session')}:{' '}
						{count(total('active'))} active, {count(total('crashed'))} crashed
					</p>
				)}
			</div>
			{error && <Problem error={error} again={again} />}
			<div class="panel">
				{!data ? !error && <Waiting /> : !all.length ? <Welcome /> : items.length ? (
					<Table label="Products and versions" columns={columns} rows={items} rowKey={(p) => JSON.stringify([p.product, p.version])}
						sort={sort} onSort={(by, way) => change({ sort: by === 'product' ? '' : by, order: way })}
						rowClass={(p) => items[items.indexOf(p) - 1]?.product === p.product && 'again'} />
				) : <Empty title="No product fits" />}
			</div>
		</>
	);
}
