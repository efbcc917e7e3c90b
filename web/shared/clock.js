// clock.js -- what time it is at the server, by which sessions and outages are dated: the reader's clock may be wrong.
const TOLERATED_MS = 3000; // the server's Date has whole seconds, and took its time to get here
let skew = 0;

export const serverNow = () => Date.now() + skew;

// The Date of an answer that has just come.
export function heard(date) {
	const off = Date.parse(date) + 500 - Date.now();
	if (!Number.isNaN(off)) skew = Math.abs(off) > TOLERATED_MS ? off : 0;
}
