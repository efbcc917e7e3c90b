// sessions.jsx -- what the session daemon holds: programs that report, and what waits for the hub.
import { get } from '../shared/api.js';
import { Ago, bytes, count, duration } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { change } from '../shared/router.js';
import { Badge, Button, Copy, Empty, Facts, Problem, Search, Table, Waiting } from '../shared/ui.jsx';
import { act } from './actions.js';
import { UpstreamState } from './words.jsx';

const SHOWN = 200;

const tones = [
	['crashed', 'bad', 'Crashed'], ['hung', 'hang', 'Hung'], ['paused', 'warn', 'Paused'], ['suspended', 'warn', 'Suspended'],
];

function State({ s }) {
	const found = tones.find(([key]) => s[key]);
	return found ? <Badge tone={found[1]}>{found[2]}</Badge> : s.active ? <Badge tone="ok">Active</Badge> : <Badge>Ended</Badge>;
}

// Where the hub shows a session: its address is the operator's own, of the configuration.
function atHub(status, s) {
	const hub = status.upstreams.find((u) => u.service === 'sessions')?.url;
	const known = typeof s.id === 'string' && !s.id.startsWith('local-');
	return known && /^https?:/.test(hub) ? `${hub.replace(/\/$/, '')}/#/sessions/${encodeURIComponent(s.id)}` : null;
}

function Id({ s, to }) {
	return (
		<span class="mono id">
			{to ? (
				<a href={to} target="_blank" rel="noreferrer noopener">{s.id}<span class="hidden"> (at the hub, in a new tab)</span></a>
			) : s.id}
			<Copy text={String(s.id)} label="Copy the id" />
		</span>
	);
}

const columns = (status) => [
	{ key: 'product', title: 'Program', class: 'break', value: (s) => (
		<span><b>{s.product}</b> <span class="muted">{s.version}</span></span>
	) },
	{ key: 'state', title: 'State', value: (s) => <State s={s} /> },
	{ key: 'pid', title: 'Process', align: 'right', value: (s) => s.parent_pid || '–' },
	{ key: 'created', title: 'Begun', class: 'nowrap', value: (s) => <Ago t={s.created_at} /> },
	{ key: 'beat', title: 'Last heartbeat', class: 'nowrap', value: (s) => <Ago t={s.last_heartbeat} /> },
	{ key: 'hub', title: 'At the hub', value: (s) => (s.delivered ? 'all of it' : s.id?.startsWith('local-') ? 'not yet known' : 'known') },
	{ key: 'id', title: 'Id', class: 'break full', value: (s) => <Id s={s} to={atHub(status, s)} /> },
];

export function Sessions({ params: { text = '' }, status, again: statusAgain }) {
	const { data, error, again } = useLoad((signal) => get('/api/v1/sessions', null, signal), [],
		({ items }) => (items.length > 1000 ? 15000 : 3000));
	if (error) return <Problem error={error} again={again} />;
	if (!data) return <Waiting />;
	const { queue } = data;
	const has = (v) => String(v ?? '').toLowerCase().includes(text.toLowerCase());
	const found = data.items.filter((s) => [s.product, s.version, s.id, s.local_id].some(has))
		.sort((a, b) => Number(b.active) - Number(a.active) || (b.created_at || '').localeCompare(a.created_at || ''));
	const flush = () => act('POST', '/api/v1/sessions/flush', undefined, () => 'All that waits for the hub is due now').then(() => {
		again();
		statusAgain();
	});
	return (
		<>
			<div class="head">
				<h1>Sessions held</h1>
				<Button class="end" onClick={flush}>Send what waits now</Button>
			</div>
			<div class="panel pad">
				<Facts rows={[
					['Hub', <UpstreamState state={queue.server} />],
					['Operations queued', count(queue.entries)],
					['Held', count(queue.held)],
					['Bytes', bytes(queue.bytes)],
					['Oldest', queue.entries ? duration(queue.oldest_age_seconds * 1000) : '–'],
					['Attempts again', count(queue.retries)],
				]} />
				{queue.paused && <p class="remark bad-text break">Delivery is paused: {queue.paused}</p>}
			</div>
			<div class="fields bar"><Search label="Search" value={text} onValue={(now) => change({ text: now }, true)} /></div>
			<div class="panel">
				{found.length === 0 ? <Empty title={text ? 'No session fits' : 'No session is held'} /> : (
					<Table label="Sessions" columns={columns(status)} rows={found.slice(0, SHOWN)} rowKey={(s) => s.local_id || s.id} />
				)}
				{found.length > SHOWN && (
					<p class="pager muted">and {count(found.length - SHOWN)} more: search for a part of the name</p>
				)}
			</div>
		</>
	);
}
