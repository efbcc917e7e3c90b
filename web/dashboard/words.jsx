// words.jsx -- states as the daemon names them, with what they mean to a person; and small parts of this page.
import { bytes, percent } from '../shared/format.jsx';
import { Badge, classes } from '../shared/ui.jsx';

const upstream = {
	up: ['ok', 'Up'], down: ['bad', 'Down'], disabled: ['warn', 'Switched off'], unknown: ['idle', 'Not asked yet'],
};
const health = { healthy: ['ok', 'Healthy'], degraded: ['warn', 'Degraded'], unhealthy: ['bad', 'Unhealthy'] };
const repository = { ready: ['ok', 'Ready'], syncing: ['info', 'Filling'], quarantined: ['bad', 'Quarantined'] };
const outbox = {
	queued: ['info', 'Queued'], sending: ['info', 'Sending'], conflict: ['bad', 'Conflict'], held: ['warn', 'Held'],
	applied: ['ok', 'Applied'], dropped: ['idle', 'Dropped'], resolved: ['idle', 'Resolved'],
};

// A state that this page does not know yet is shown as it is.
function badge(table, state) {
	const [tone, name] = Object.hasOwn(table, state) ? table[state] : ['idle', String(state)];
	return <Badge tone={tone}>{name}</Badge>;
}

export const UpstreamState = ({ state }) => badge(upstream, state);
export const Health = ({ state }) => badge(health, state);
export const RepoState = ({ state }) => badge(repository, state);
export const EntryState = ({ state }) => badge(outbox, state);
export const outboxStates = Object.entries(outbox).map(([key, [tone, name]]) => ({ key, tone, name }));

// How much of its budget something takes; `low`: down to there it is cleared when full.
export function Meter({ label, used, max, low }) {
	const part = max ? Math.min(1, used / max) : 0;
	return (
		<span class={classes('meter', part > 0.98 && 'full')}>
			<svg viewBox="0 0 100 8" preserveAspectRatio="none" role="img"
				aria-label={`${label}: ${bytes(used)} of ${bytes(max)} used, ${percent(part)}`}>
				<rect class="track" width="100" height="8" />
				<rect class="used" width={part && Math.max(100 * part, 0.6)} height="8" />
				{low > 0 && max > 0 && <rect class="low" x={Math.min(99.4, 100 * low / max)} width="0.6" height="8" />}
			</svg>
			<span class="nowrap">{bytes(used)} <span class="muted">of {bytes(max)}</span></span>
		</span>
	);
}

// A number that is the answer to a question; tone when it should be seen. to: where more of it is.
export function Tile({ name, value, note, tone, to }) {
	const inside = <><span class="name">{name}</span><span class="value">{value}</span><span class="note">{note}</span></>;
	return to ? <a class={classes('tile', tone)} href={to}>{inside}</a> : <div class={classes('tile', tone)}>{inside}</div>;
}
