// parts.jsx -- what several views of the hub have: the state of a session as badges, levels, values as a tree.
import { useState } from 'preact/hooks';
import { count } from '../shared/format.jsx';
import { Badge } from '../shared/ui.jsx';

export const states = [
	['active', 'Active', 'ok'],
	['suspended', 'Suspended', 'warn'],
	['ended', 'Ended', 'idle'],
	['crashed', 'Crashed', 'bad'],
];

export const stateOf = (s) => (s.crashed ? 'crashed' : s.ended_at ? 'ended' : s.suspended ? 'suspended' : 'active');
// It may still change: worth asking again.
export const isLive = (s) => !s.crashed && !s.ended_at;

const meanings = {
	active: 'It sends heartbeats, or has never sent one',
	suspended: 'Its heartbeats have stopped: asleep, cut off, or gone',
	ended: 'It has ended properly',
	crashed: 'It ended without saying so',
};

export function States({ session }) {
	const state = stateOf(session);
	const [, name, tone] = states.find(([key]) => key === state);
	return (
		<span class="badges">
			<Badge tone={tone} title={meanings[state]}>{name}</Badge>
			{session.hung && <Badge tone="hang" title="It has not answered its heartbeat in time">Hung</Badge>}
		</span>
	);
}

/* --- levels: an event's category, which may be any text --- */

export const levels = ['critical', 'error', 'warning', 'info', 'debug'];
const known = new Set(levels);
export const levelClass = (level) => (known.has(level) ? level : 'other');
export const levelColour = (level) => (known.has(level) ? `--level-${level}` : '--c4');

export function Level({ level }) {
	return <span class={`level ${levelClass(level)}`}>{level || 'none'}</span>;
}

/* --- values: what programs sent, as a tree of text --- */

const MOST_ENTRIES = 100, MOST_TEXT = 2000; // at first: a state may be a megabyte

function Text({ value }) {
	const [all, show] = useState(value.length <= MOST_TEXT);
	if (all) return <span class="v-text">{value}</span>;
	return (
		<>
			<span class="v-text">{value.slice(0, MOST_TEXT)} … </span>
			<button type="button" class="button small" onClick={() => show(true)}>{count(value.length - MOST_TEXT)} more characters</button>
		</>
	);
}

function Leaf({ value }) {
	if (value === null) return <span class="v-null">null</span>;
	if (typeof value === 'string') return <Text value={JSON.stringify(value)} />;
	return <span class="v-plain">{String(value)}</span>;
}

const sizeOf = (value) => (Array.isArray(value) ? `[${value.length}]` : `{${Object.keys(value).length}}`);

// changed: keys (of this level) that are marked; open: how many levels are unfolded.
export function Tree({ value, open = 2, changed }) {
	const [most, more] = useState(MOST_ENTRIES);
	if (value === null || typeof value !== 'object') return <Leaf value={value} />;
	const entries = Object.entries(value);
	if (!entries.length) return <span class="muted">{Array.isArray(value) ? '[ ]' : '{ }'}</span>;
	return (
		<ul class="tree">
			{entries.slice(0, most).map(([key, inner]) => (
				<li key={key} class={changed?.has(key) ? 'changed' : undefined}>
					{inner !== null && typeof inner === 'object' && Object.keys(inner).length ? (
						<details open={open > 1}>
							<summary><span class="v-key">{key}</span> <span class="muted">{sizeOf(inner)}</span></summary>
							<Tree value={inner} open={open - 1} />
						</details>
					) : (
						<><span class="v-key">{key}</span> <Tree value={inner} /></>
					)}
				</li>
			))}
			{entries.length > most && (
				<li><button type="button" class="button small" onClick={() => more(10 * most)}>{count(entries.length - most)} more</button></li>
			)}
		</ul>
	);
}

/* --- pages of a list whose cursors lead on only --- */

// cursor and next belong to the page that is shown, which is not yet the one that was asked for last.
//
// Where each page was come to from, while this tab is open; a shared link to a page in the middle knows its first only.
const trail = new Map();

export function Pager({ cursor, next, to, children }) {
	if (next) trail.set(`${to('')} ${next}`, cursor || '');
	const before = trail.get(`${to('')} ${cursor}`);
	if (!cursor && !next && !children) return null;
	return (
		<nav class="pager" aria-label="Pages">
			<span class="muted">{children}</span>
			<span class="buttons">
				{cursor && <a class="button small" href={to('')}>First</a>}
				{cursor && before !== undefined && before !== '' && <a class="button small" href={to(before)}>Previous</a>}
				{next && <a class="button small" href={to(next)}>Next</a>}
			</span>
		</nav>
	);
}
