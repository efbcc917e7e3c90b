// overview.jsx -- do the upstreams answer, what is queued, what is stuck: at a glance; then the last hour.
import { get } from '../shared/api.js';
import { Ago, Time, count, duration, percent, plural, short } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { href } from '../shared/router.js';
import { Icon } from '../shared/ui.jsx';
import { Disks } from './disks.jsx';
import { Others } from './others.jsx';
import { Traffic } from './traffic.jsx';
import { Upstreams } from './upstreams.jsx';
import { Health, Tile } from './words.jsx';

const in_outbox = (state, service) => href('/outbox', { state, service });

// What somebody should look at: [tone, sentence, where to].
function troubles({ upstreams, outbox, health }) {
	const found = [];
	const disk = health.components?.disk;
	if (disk && disk.status !== 'healthy')
		found.push([disk.status === 'unhealthy' ? 'bad' : 'warn', disk.reason || 'A service cannot do its work']);
	if (outbox.readonly) found.push(['bad', 'No write is taken: a sync of the disk failed. Look at the disk, then restart weir']);
	for (const u of upstreams.filter((u) => u.state === 'down'))
		found.push(['bad', <>{u.name} does not answer, since <Time t={u.since} />{u.last_error && `: ${u.last_error}`}</>]);
	for (const u of upstreams.filter((u) => u.state === 'disabled'))
		found.push(['warn', <>{u.name} is switched off, since <Time t={u.since} /></>]);
	for (const q of outbox.queues.filter((q) => q.paused))
		found.push(['bad', `Delivery to ${q.service} is paused: ${q.paused}`, in_outbox('queued', q.service)]);
	if (outbox.conflict)
		found.push(['bad', `${plural(outbox.conflict, 'write')} met another version upstream: somebody has to choose`,
			in_outbox('conflict')]);
	if (outbox.held)
		found.push(['warn', `${plural(outbox.held, 'write')} held: refused, or it is not known what became of it`, in_outbox('held')]);
	if (outbox.damaged) found.push(['warn', `${plural(outbox.damaged, 'record')} of the outbox found damaged, and set aside`]);
	return found;
}

function Troubles({ status }) {
	const found = troubles(status);
	return (
		<section class="section" aria-labelledby="trouble">
			<h2 id="trouble">Needs attention</h2>
			{found.length === 0 ? <p class="fine panel pad"><Icon name="check" />Nothing. All is as it should be.</p> : (
				<ul class="troubles panel">
					{found.map(([tone, text, to], i) => (
						<li key={i} class={tone}><span class="break">{text}</span>{to && <a href={to}>Show</a>}</li>
					))}
				</ul>
			)}
		</section>
	);
}

// The services' sums of the last hour, taken together.
function together(history) {
	const sum = (name) => history.services.reduce((all, s) => all + (s.sum[name] || 0), 0);
	const asked = sum('hits') + sum('refreshed') + sum('misses');
	return { requests: sum('requests'), errors: sum('errors'), offline: sum('offline'), stale: sum('stale'),
		rate: asked ? sum('hits') / asked : null };
}

function Tiles({ status: { upstreams, outbox, sessions }, history }) {
	const away = upstreams.filter((u) => u.state === 'down').length, off = upstreams.filter((u) => u.state === 'disabled').length;
	const hour = history && together(history), waiting = outbox.queued + outbox.sending, stuck = outbox.conflict + outbox.held;
	return (
		<div class="tiles">
			{upstreams.length > 0 && (
				<Tile name="Upstreams" tone={away ? 'bad' : off ? 'warn' : 'ok'}
					value={`${upstreams.length - away - off} of ${upstreams.length}`}
					note={[away && `${count(away)} down`, off && `${count(off)} switched off`].filter(Boolean).join(', ') || 'none is down'} />
			)}
			{outbox.queues.length > 0 && (
				<>
					<Tile name="Waiting to be sent" tone={waiting ? 'info' : ''} value={short(waiting)} to={in_outbox('queued')}
						note={outbox.oldest_at ? <>oldest <Ago t={outbox.oldest_at} /></> : 'nothing waits'} />
					<Tile name="Stuck" tone={outbox.conflict ? 'bad' : stuck ? 'warn' : ''} value={short(stuck)}
						to={in_outbox(outbox.conflict || !stuck ? 'conflict' : 'held')}
						note={stuck ? `${plural(outbox.conflict, 'conflict')}, ${count(outbox.held)} held` : 'no conflict, none held'} />
				</>
			)}
			{hour && <Tile name="Requests" value={short(hour.requests)} note={`last hour, ${plural(hour.errors, 'error')}`} />}
			{hour?.rate != null && <Tile name="From the cache" value={percent(hour.rate)} note="last hour" />}
			{hour && (
				<Tile name="Served offline" tone={hour.offline ? 'info' : ''} value={short(hour.offline)}
					note={hour.stale ? `last hour, ${count(hour.stale)} stale` : 'last hour'} />
			)}
			{sessions && <Tile name="Live sessions" value={short(sessions.live)} to={href('/sessions')}
				note={`${count(sessions.queue?.entries)} queued`} />}
		</div>
	);
}

export function Overview({ status, again }) {
	const { data: history } = useLoad((signal) => get('/api/v1/history', null, signal), [], () => 5000);
	return (
		<>
			<div class="head">
				<h1>Overview</h1>
				<Health state={status.health.status} />
				<span class="muted end">version {status.version}, up for {duration(status.uptime_seconds * 1000)}</span>
			</div>
			<Tiles status={status} history={history} />
			<Troubles status={status} />
			{status.upstreams.length > 0 && <Upstreams items={status.upstreams} again={again} />}
			{history && <Traffic history={history} />}
			<Disks status={status} />
			<Others status={status} />
		</>
	);
}
