// actions.js -- what an operator does: asked before when it takes something away, and said afterwards.
import { useState } from 'preact/hooks';
import { ask } from '../shared/api.js';
import { confirm, say } from '../shared/ui.jsx';

// Sends one; says done(answer), or what went wrong. The answer, or null.
export async function act(method, path, body, done) {
	try {
		const { data } = await ask(method, path, { body });
		say(done(data));
		return data;
	} catch (e) {
		say(e.message === 'No answer' ? 'The daemon gives no answer: whether it was done is not known' : e.message, 'bad');
		return null;
	}
}

// The same, after a question. options: of confirm().
export async function actAfter(options, ...rest) {
	return (await confirm(options)) ? act(...rest) : null;
}

// [busy, run(does)]: one at a time of what a row's buttons do, and `again` after it. The buttons are not disabled meanwhile,
// as that would take the focus from them, but say so (aria-disabled).
export function useBusy(again) {
	const [busy, set] = useState(false);
	const run = async (does) => {
		if (busy) return;
		set(true);
		await does();
		set(false);
		again();
	};
	return [busy || undefined, run];
}
