// store.js -- a value that components can watch.
import { useEffect, useState } from 'preact/hooks';

export function store(value) {
	const watchers = new Set();
	const it = {
		get: () => value,
		set(next) {
			value = typeof next === 'function' ? next(value) : next;
			watchers.forEach((tell) => tell(value));
		},
		watch(tell) {
			watchers.add(tell);
			return () => watchers.delete(tell);
		},
		// The value, in a component that is drawn again when it changes.
		use() {
			const [seen, see] = useState(() => ({ value }));
			useEffect(() => {
				see({ value }); // it may have changed since the first drawing
				return it.watch((next) => see({ value: next }));
			}, []);
			return seen.value;
		},
	};
	return it;
}
