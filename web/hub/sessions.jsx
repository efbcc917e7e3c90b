// sessions.jsx -- the list of sessions: filters, order and page are in the address, so a link keeps them.
import { useEffect, useState } from 'preact/hooks';
import { get, getPage } from '../shared/api.js';
import { serverNow } from '../shared/clock.js';
import { Ago, count, duration, ms, Time } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { change, go, href, route } from '../shared/router.js';
import { Button, Choices, Empty, Field, Problem, Search, Select, Table, Waiting } from '../shared/ui.jsx';
import { isLive, Pager, States, states } from './parts.jsx';

const FILTERS = ['product', 'version', 'state', 'hung', 'hostname', 'machine', 'text', 'since', 'until'];
const PAGE = 50;

const hung = [['', 'Any'], ['now', 'Hung now'], ['ever', 'Ever hung'], ['recovered', 'Hung, recovered'], ['ended', 'Hung when it ended'],
	['crashed', 'Hung when it crashed']];

// A new filter begins at the first page.
const set = (params, replace) => change({ ...params, after: '' }, replace);

// RFC 3339 in the address, the reader's zone in the field.
function Moment({ label, value, onValue }) {
	const local = (t) => {
		const d = new Date(t);
		return isNaN(d) ? '' : new Date(d - d.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
	};
	return (
		<Field label={label}>
			<input type="datetime-local" value={value ? local(value) : ''}
				onChange={(e) => onValue(e.currentTarget.value ? new Date(e.currentTarget.value).toISOString() : '')} />
		</Field>
	);
}

function Filters({ params, products }) {
	const [open, unfold] = useState(false);
	const all = products?.items || [];
	const names = [...new Set(all.map((p) => p.product))];
	const versions = [...new Set(all.filter((p) => !params.product || p.product === params.product).map((p) => p.version))];
	// What is asked for can be seen, whether or not it still exists.
	const offer = (list, value) => [['', 'All'], ...[...new Set(value ? [...list, value] : list)].map((v) => [v, v])];
	const given = FILTERS.filter((f) => params[f]);
	const more = ['hung', 'hostname', 'machine', 'since', 'until'].filter((f) => params[f]).length;
	useEffect(() => {
		if (more) unfold(true);
	}, [more]);
	return (
		<form role="search" aria-label="Filters" class="panel pad filters" onSubmit={(e) => e.preventDefault()}>
			<div class="fields">
				<Select label="Product" value={params.product} options={offer(names, params.product)}
					onValue={(product) => set({ product, version: '' })} />
				<Select label="Version" value={params.version} options={offer(versions, params.version)}
					onValue={(version) => set({ version })} />
				<Choices label="State" options={states} value={params.state ? params.state.split(',') : []}
					onValue={(v) => set({ state: v.join(',') })} />
				<Search label="Text in an event" value={params.text} onValue={(text) => set({ text }, true)} wait={600} />
				{given.length > 0 && (
					<Button kind="quiet" icon="close" onClick={() => set(Object.fromEntries(FILTERS.map((f) => [f, ''])))}>Clear</Button>
				)}
			</div>
			<details class="more" open={open} onToggle={(e) => unfold(e.currentTarget.open)}>
				<summary>More filters{more ? ` (${more})` : ''}</summary>
				<div class="fields">
					<Search label="Host" value={params.hostname} onValue={(hostname) => set({ hostname }, true)} />
					<Search label="Machine" value={params.machine} onValue={(machine) => set({ machine }, true)} />
					<Select label="Hang" value={params.hung} options={hung} onValue={(v) => set({ hung: v })} />
					<Moment label="Started from" value={params.since} onValue={(since) => set({ since })} />
					<Moment label="Started before" value={params.until} onValue={(until) => set({ until })} />
				</div>
			</details>
		</form>
	);
}

export const lengthOf = (s, now = serverNow()) => (isLive(s) ? (s.suspended ? ms(s.last_heartbeat) || now : now) : ms(s.ended_at)) -
	ms(s.created_at);

const columns = [
	{ key: 'session', title: 'Session', sort: 'product', first: 'asc', class: 'break', value: (s) => (
		<a class="strong" href={href(`/sessions/${s.id}`)}>{s.product} {s.version}</a>
	) },
	{ key: 'state', title: 'State', value: (s) => <States session={s} /> },
	{ key: 'host', title: 'Host', sort: 'hostname', first: 'asc', class: 'break', value: (s) => s.hostname || <span class="muted">–</span> },
	{ key: 'created', title: 'Started', sort: 'created', class: 'nowrap', value: (s) => <Time t={s.created_at} /> },
	{ key: 'length', title: 'Length', align: 'right', class: 'nowrap', value: (s) => duration(Math.max(0, lengthOf(s))) },
	{ key: 'updated', title: 'Last change', sort: 'updated', class: 'nowrap', value: (s) => <Ago t={s.updated_at} /> },
	{ key: 'events', title: 'Events', sort: 'events', align: 'right', value: (s) => count(s.counts.events) },
	{ key: 'metrics', title: 'Metrics', align: 'right', value: (s) => count(s.counts.metrics) },
	{ key: 'id', title: 'Id', value: (s) => <span class="mono muted" title={s.id}>{s.id.slice(0, 8)}</span> },
];

export function Sessions({ params }) {
	const asked = Object.fromEntries(FILTERS.map((f) => [f, params[f]]));
	const sort = { by: params.sort || 'created', order: params.order || 'desc' };
	const load = async (signal) => ({
		...await getPage('/api/data/sessions', { ...asked, sort: sort.by, order: sort.order, limit: PAGE, after: params.after,
			view: 'brief' }, signal),
		cursor: params.after,
	});
	const { data, error, stale, again } = useLoad(load, [JSON.stringify(params)], () => 5000, undefined,
		'sessions ' + JSON.stringify(params));
	const { data: products } = useLoad((signal) => get('/api/data/products', null, signal), [], () => 30000, undefined, 'products');
	const filtered = FILTERS.some((f) => params[f]);
	return (
		<>
			<div class="head"><h1>Sessions</h1></div>
			<Filters params={params} products={products} />
			{error && <Problem error={error} again={again} />}
			<div class={`panel${stale ? ' stale' : ''}`} aria-busy={stale}>
				{!data ? !error && <Waiting /> : data.items.length ? (
					<Table label="Sessions" columns={columns} rows={data.items} rowKey={(s) => s.id} sort={sort}
						onSort={(by, order) => set({ sort: by, order })} onRow={(s) => go(`/sessions/${s.id}`)} />
				) : (
					<Empty title={filtered ? 'No session fits these filters' : 'No session yet'}>
						<p>{filtered ? 'Take one of them away, or look from an earlier time on.'
							: <a href={href('/')}>How to send the first one</a>}</p>
					</Empty>
				)}
				{data && (
					<Pager cursor={data.cursor} next={data.next} to={(after) => href(route.get().path, { ...params, after })}>
						{data.items.length > 0 && `${data.items.length} on this page`}
					</Pager>
				)}
			</div>
		</>
	);
}
