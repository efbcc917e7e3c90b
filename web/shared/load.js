// load.js -- what a view shows: loaded, loaded again every so often, and caught up with when the server was away.
import { useEffect, useRef, useState } from 'preact/hooks';
import { Away, link } from './api.js';
import { serverNow } from './clock.js';

const MOST_PAUSE_MS = 10000;
const SHARE = 10;
const waiting = new Set(); // of the loads that wait for the server to come back: each one's `run`

const MOST_KEPT = 10;
const kept = new Map(); // name: data

function keep(name, data) {
	if (name === undefined) return;
	kept.delete(name);
	kept.set(name, data);
	if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
}

function reached() {
	if (!link.get().away) return;
	link.set({ away: false, since: 0, retryAt: 0 });
	[...waiting].forEach((run) => run());
}

function lost(pause) {
	link.set((was) => ({ away: true, since: was.away ? was.since : serverNow(), retryAt: serverNow() + pause }));
}

export function tryNow() {
	[...waiting].forEach((run) => run());
}

// load(signal) is called when the component appears, when a value in `deps` changes, and every(data) ms after it has
// succeeded (0: not again). While the server is away: again after 1, 2, 4, 8, 10, 10 ... s. A page that is not looked at
// does not ask. When `tick` changes there is something new to see: it is loaded again, but so that the server spends at most
// a tenth of its time on it. `name`: what was loaded under it before is shown at once, to whoever comes back. Returns { data, error, busy, stale, again() }: data stays while newer is on its way (stale: it
// belongs to earlier deps).
export function useLoad(load, deps, every = () => 0, tick, name) {
	const [state, set] = useState(() => ({ data: kept.get(name) ?? null, error: null, busy: true, stale: false }));
	const latest = useRef({});
	latest.current.load = load;
	latest.current.every = every;
	latest.current.name = name;

	useEffect(() => {
		let timer = 0, control = null, tries = 0, stopped = false, owed = false, begun = 0, took = 0, soon = 0,
			running = false, missed = false;

		function later(pause) {
			clearTimeout(timer);
			timer = setTimeout(() => (document.hidden ? (owed = true) : run()), pause);
		}

		async function run() {
			clearTimeout(timer);
			clearTimeout(soon);
			soon = 0;
			begun = performance.now();
			running = true;
			missed = false;
			control?.abort();
			const mine = (control = new AbortController());
			try {
				const data = await latest.current.load(mine.signal);
				if (stopped || mine !== control) return;
				tries = 0;
				took = performance.now() - begun;
				waiting.delete(run);
				reached();
				running = false;
				set({ data, error: null, busy: false, stale: false });
				keep(latest.current.name, data);
				const pause = latest.current.every(data);
				if (pause) later(pause);
				if (missed) latest.current.ticked();
			} catch (error) {
				if (stopped || mine !== control || error.name === 'AbortError') return;
				running = false;
				if (error instanceof Away) {
					const pause = Math.min(MOST_PAUSE_MS, 1000 * 2 ** tries++);
					waiting.add(run);
					lost(pause);
					set((was) => ({ ...was, busy: false }));
					later(pause);
				} else {
					waiting.delete(run);
					if (error.status) reached();
					else console.error(error); // a fault of ours
					set((was) => ({ ...was, error, busy: false }));
					if (error.status >= 500) later(MOST_PAUSE_MS);
				}
			}
		}

		function seen() {
			if (document.hidden || !owed) return;
			owed = false;
			run();
		}

		set((was) => ({ ...was, error: null, busy: true, stale: was.data != null }));
		latest.current.run = run;
		latest.current.ticked = () => {
			if (running) {
				missed = true; // one that takes long is not begun anew again and again
				return;
			}
			soon ||= setTimeout(() => (document.hidden ? (owed = true) : run()), Math.max(0, begun + SHARE * took - performance.now()));
		};
		document.addEventListener('visibilitychange', seen);
		run();
		return () => {
			stopped = true;
			clearTimeout(timer);
			clearTimeout(soon);
			control?.abort();
			waiting.delete(run);
			document.removeEventListener('visibilitychange', seen);
		};
	}, deps);

	const before = useRef(tick);
	useEffect(() => {
		if (before.current !== tick) latest.current.ticked();
		before.current = tick;
	}, [tick]);

	return { ...state, again: () => latest.current.run?.() };
}
