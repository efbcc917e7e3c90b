// session.jsx -- one session: what it is, its timeline, and one of events, state, metrics.
import { useEffect, useRef } from 'preact/hooks';
import { get } from '../shared/api.js';
import { Ago, count, duration, exact, Time, useNow } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { href } from '../shared/router.js';
import { Copy, Empty, Facts, Problem, say, Waiting } from '../shared/ui.jsx';
import { Events } from './events.jsx';
import { Metrics } from './metrics.jsx';
import { isLive, stateOf, States } from './parts.jsx';
import { lengthOf } from './sessions.jsx';
import { State } from './state.jsx';
import { Timeline } from './timeline.jsx';

const LIVE_MS = 2000;
const BUCKETS = 160;
const CREDIBLE_MS = 30 * 86400000; // how wrong a clock may be

function Length({ session }) {
	const now = useNow(isLive(session) ? 1000 : 3600000);
	return duration(Math.max(0, lengthOf(session, now)));
}

const KNOWN = new Set(['id', 'created_at', 'updated_at', 'ended_at', 'last_heartbeat', 'active', 'suspended', 'crashed', 'hung', 'hostname',
	'machine_id', 'product', 'version', 'counts']);

// What a program newer than this page said of its session.
const further = (s) => Object.entries(s).filter(([key]) => !KNOWN.has(key))
	.map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]);

function Head({ session: s }) {
	return (
		<>
			<p class="muted break"><a href={href('/sessions', { product: s.product })}>Sessions of {s.product}</a></p>
			<div class="head">
				<h1>{s.product} {s.version}</h1>
				<States session={s} />
				{isLive(s) && <span class="live" title="What you see follows the session">Live</span>}
			</div>
			<Facts rows={[
				['Started', <Time t={s.created_at} />],
				['Ended', s.ended_at && <Time t={s.ended_at} />],
				['Length', <Length session={s} />],
				['Last change', <Ago t={s.updated_at} />],
				['Last heartbeat', s.last_heartbeat && isLive(s) && <Ago t={s.last_heartbeat} />].map((v) => v || null),
				['Host', s.hostname],
				['Machine', s.machine_id && <span class="mono">{s.machine_id}</span>],
				...further(s),
				['Id', <><span class="mono">{s.id}</span><Copy text={s.id} label="Copy the id" /></>],
			]} />
		</>
	);
}

function Tabs({ id, params, session: s }) {
	const tabs = [['events', 'Events', s.counts.events], ['state', 'State', s.counts.state_history], ['metrics', 'Metrics', s.counts.metrics]];
	const keep = { since: params.since, until: params.until, at: params.at };
	return (
		<nav class="tabs" aria-label="Of this session">
			{tabs.map(([key, name, n]) => (
				<a key={key} href={href(`/sessions/${encodeURIComponent(id)}`, { tab: key === 'events' ? '' : key, ...keep })}
					aria-current={(params.tab || 'events') === key ? 'page' : undefined}>
					{name}<span class="count">{count(n)}</span>
				</a>
			))}
		</nav>
	);
}

// Without a zoom: from the session's start to its end, and wider when events say that they were outside of it, as those of
// a machine whose clock is not the hub's.
async function loadTimeline(path, zoom, signal) {
	const ask = (span) => get(`${path}/timeline`, { ...span, buckets: BUCKETS }, signal);
	const usual = await ask(zoom);
	if (zoom.since || zoom.until || !(usual.outside.before || usual.outside.after)) return usual;
	const near = (t) => t > usual.since - CREDIBLE_MS && t < usual.until + CREDIBLE_MS; // some clients date events to the year 1
	const [first, last] = await Promise.all(['asc', 'desc'].map((order) => get(`${path}/events`, { view: 'page', limit: 1, order }, signal)));
	const times = [...first.items, ...last.items].map((i) => Date.parse(i.event.timestamp)).filter(near);
	const span = { since: exact(Math.min(usual.since, ...times)), until: exact(Math.max(usual.until, ...times.map((t) => t + 1))) };
	return { ...await ask(span), span };
}

// A change of the state while one looks is said, for those who do not see the badge.
function useTold(session) {
	const before = useRef(null);
	useEffect(() => {
		if (!session) return;
		const state = stateOf(session) + (session.hung ? ', hung' : '');
		if (before.current && before.current !== state) say(`The session is now: ${state}`);
		before.current = state;
	}, [session]);
}

export function Session({ id, params }) {
	const path = `/api/data/sessions/${encodeURIComponent(id)}`;
	const { data: s, error, again } = useLoad((signal) => get(path, { view: 'brief' }, signal), [id],
		(d) => (isLive(d) ? LIVE_MS : 0));
	const zoom = { since: params.since, until: params.until };
	const zoomed = !!(params.since || params.until);
	const live = s && isLive(s);
	const counts = s && `${s.counts.events} ${s.counts.state_history} ${s.counts.metrics} ${stateOf(s)} ${s.hung}`;
	const timeline = useLoad((signal) => loadTimeline(path, zoom, signal), [id, params.since, params.until],
		() => (live ? 3 * LIVE_MS : 0), counts);
	useTold(s);
	useEffect(() => {
		if (s) document.title = `${s.product} ${s.version} – weir hub`;
	}, [s?.product]);

	if (error?.status === 404) {
		return (
			<Empty title="There is no such session">
				<p>It may have been deleted with age. <a href={href('/sessions')}>To the sessions</a></p>
			</Empty>
		);
	}
	if (error) return <Problem error={error} again={again} />;
	if (!s) return <Waiting />;
	const data = timeline.data;
	const known = [Date.parse(s.created_at), Date.parse(s.ended_at || s.updated_at)];
	const whole = data ? [Math.min(known[0], data.since), zoomed ? Math.max(known[1], data.until) : data.until] : known;
	const range = data ? [data.since, data.until] : whole;
	return (
		<>
			<Head session={s} />
			{data && <Timeline data={data} whole={whole} zoomed={zoomed} at={params.tab === 'state' && params.at ? Date.parse(params.at) : null} />}
			{timeline.error && <Problem error={timeline.error} again={timeline.again} />}
			<div class="panel of-session">
				<Tabs id={id} params={params} session={s} />
				{params.tab === 'state' ? <State id={id} params={params} range={whole} total={s.counts.state_history} />
					: params.tab === 'metrics' ? <Metrics id={id} params={params} span={data?.span || zoom} range={range} total={s.counts.metrics} />
					: <Events id={id} params={params} total={s.counts.events} found={data ? Object.keys(data.levels) : []} />}
			</div>
		</>
	);
}
