// diff.js -- which lines differ between two texts: the shortest way from one to the other (Myers, 1986), within limits.

const MOST_LINES = 5000; // of both, once what is equal at the ends is left out
const MOST_STEPS = 400;  // lines that differ; beyond it all of one and then all of the other is as good
const AROUND = 3;        // equal lines that are shown beside what differs

// For each d the furthest places, until b's end is reached; null: more than MOST_STEPS.
function walk(a, b) {
	const trace = [], furthest = new Map([[1, 0]]);
	for (let d = 0; d <= Math.min(a.length + b.length, MOST_STEPS); d++) {
		trace.push(new Map(furthest));
		for (let k = -d; k <= d; k += 2) {
			const down = k === -d || (k !== d && furthest.get(k - 1) < furthest.get(k + 1));
			let x = down ? furthest.get(k + 1) : furthest.get(k - 1) + 1;
			while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
			furthest.set(k, x);
			if (x >= a.length && x - k >= b.length) return trace;
		}
	}
	return null;
}

// [[' ' | '-' | '+', line]...] from a to b.
function steps(a, b) {
	const trace = a.length && b.length ? walk(a, b) : null, out = [];
	if (!trace) return [...a.map((line) => ['-', line]), ...b.map((line) => ['+', line])];
	let x = a.length, y = b.length;
	for (let d = trace.length - 1; d >= 0; d--) {
		const v = trace[d], k = x - y;
		const before = k === -d || (k !== d && v.get(k - 1) < v.get(k + 1)) ? k + 1 : k - 1;
		const px = d ? v.get(before) : 0, py = d ? px - before : 0;
		while (x > px && y > py) out.push([' ', a[--x], y--]);
		if (d) out.push(x === px ? ['+', b[--y]] : ['-', a[--x]]);
	}
	return out.reverse().map(([sign, line]) => [sign, line]);
}

// Leaves out what is equal and far from a difference, and says how much.
function shorten(all) {
	const near = all.map(() => false), out = [];
	all.forEach(([sign], i) => {
		if (sign !== ' ') near.fill(true, Math.max(0, i - AROUND), i + AROUND + 1);
	});
	for (let i = 0; i < all.length; i++) {
		if (near[i]) {
			out.push(all[i]);
			continue;
		}
		let end = i;
		while (end < all.length && !near[end]) end++;
		out.push(['…', end - i === 1 ? '1 line is the same' : `${end - i} lines are the same`]);
		i = end - 1;
	}
	return out;
}

const lines = (text) => (text === '' ? [] : text.replace(/\n$/, '').split('\n'));

// The lines that lead from `theirs` to `ours`: '-' is theirs alone, '+' ours alone, '…' says what was left out; null: they
// differ in too much.
export function changes(theirs, ours) {
	const a = lines(theirs), b = lines(ours);
	let head = 0, tail = 0;
	while (head < a.length && head < b.length && a[head] === b[head]) head++;
	while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
	const inner = [a.slice(head, a.length - tail), b.slice(head, b.length - tail)];
	if (inner[0].length + inner[1].length > MOST_LINES) return null;
	const middle = steps(...inner);
	if (!middle.length) return [['…', 'They differ in the end of the last line alone']];
	return shorten([...a.slice(0, head).map((line) => [' ', line]), ...middle, ...a.slice(a.length - tail).map((line) => [' ', line])]);
}
