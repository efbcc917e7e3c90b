// ui.jsx -- the small parts that all views are made of.
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { store } from './store.js';

export const classes = (...names) => names.filter(Boolean).join(' ');

// Icons of 16 by 16, drawn here: [path data...]. Decoration: what they mean is said in words beside them or in a label.
const icons = {
	sun: 'M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z',
	moon: 'M13.5 9.8A6 6 0 0 1 6.2 2.5 6 6 0 1 0 13.5 9.8z',
	auto: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 2v12M8 5h4.5M8 8h6M8 11h4.5',
	search: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.5 10.5L14 14',
	copy: 'M5.5 5.5h8v8h-8zM3.5 10.5h-1v-8h8v1',
	check: 'M3 8.5l3.5 3.5L13 4.5',
	close: 'M4 4l8 8M12 4l-8 8',
	left: 'M10 3L5 8l5 5',
	right: 'M6 3l5 5-5 5',
	plus: 'M8 3v10M3 8h10',
	minus: 'M3 8h10',
	down: 'M3 6l5 5 5-5',
	all: 'M2 3v10M14 3v10M5 8h6M7 6L5 8l2 2M9 6l2 2-2 2',
	away: 'M2 5.5a9 9 0 0 1 12 0M4.5 8.2a5.5 5.5 0 0 1 7 0M8 11.5v.5M2 2l12 12',
};

export function Icon({ name }) {
	return (
		<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">
			<path d={icons[name]} fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round"
				stroke-linejoin="round" />
		</svg>
	);
}

// kind: '' | 'main' | 'danger' | 'quiet'. label: what it does, when the inside is an icon alone.
export function Button({ kind, icon, label, children, class: name, ...rest }) {
	return (
		<button type="button" class={classes('button', kind, !children && 'square', name)} aria-label={label}
			title={label} {...rest}>
			{icon && <Icon name={icon} />}
			{children}
		</button>
	);
}

// A state in a word, with a colour and a shape: tone 'ok' | 'warn' | 'bad' | 'hang' | 'idle' | 'info'.
export function Badge({ tone = 'idle', children, title }) {
	return <span class={`badge ${tone}`} title={title}>{children}</span>;
}

export function Empty({ title, children }) {
	return <div class="empty"><h2>{title}</h2>{children}</div>;
}

export function Problem({ error, again }) {
	return (
		<div class="problem" role="alert">
			<p>{error.message}</p>
			{again && <Button onClick={again}>Try again</Button>}
		</div>
	);
}

// In place of what is still to come; says so after a while only, as most things come at once.
export function Waiting({ what = 'Loading' }) {
	return <p class="waiting" role="status">{what} …</p>;
}

export function Copy({ text, label }) {
	const [done, set] = useState(false);
	const copy = async () => {
		try {
			await navigator.clipboard.writeText(text);
			set(true);
			setTimeout(() => set(false), 1500);
		} catch {
			say('This browser does not let the page copy', 'bad');
		}
	};
	return <Button kind="quiet small" icon={done ? 'check' : 'copy'} label={done ? 'Copied' : label} onClick={copy} />;
}

// Facts: rows of [name, value]; a value of null leaves its row out.
export function Facts({ rows }) {
	return (
		<dl class="facts">
			{rows.filter(([, value]) => value != null).map(([name, value]) => (
				<div key={name}><dt>{name}</dt><dd>{value}</dd></div>
			))}
		</dl>
	);
}

/* --- fields --- */

export function Field({ label, children, class: name }) {
	return <label class={classes('field', name)}><span>{label}</span>{children}</label>;
}

// Text that is taken over a moment after the last key, or at Enter.
export function Search({ label, value, onValue, wait = 300, ...rest }) {
	const [text, set] = useState(value || '');
	const timer = useRef(0), mine = useRef(value || '');
	useEffect(() => {
		if ((value || '') !== mine.current) set((mine.current = value || '')); // it was changed elsewhere
	}, [value]);
	useEffect(() => () => clearTimeout(timer.current), []);
	const take = (now) => {
		clearTimeout(timer.current);
		mine.current = now;
		onValue(now);
	};
	return (
		<Field label={label} class="search">
			<input type="search" value={text} autocomplete="off" spellcheck={false} {...rest}
				onInput={(e) => {
					const now = e.currentTarget.value;
					set(now);
					clearTimeout(timer.current);
					timer.current = setTimeout(() => take(now), wait);
				}}
				onKeyDown={(e) => e.key === 'Enter' && take(e.currentTarget.value)} />
		</Field>
	);
}

export function Select({ label, value, onValue, options }) {
	return (
		<Field label={label}>
			<select value={value || ''} onChange={(e) => onValue(e.currentTarget.value)}>
				{options.map(([key, name]) => <option key={key} value={key}>{name}</option>)}
			</select>
		</Field>
	);
}

// Several of a few: buttons that are pressed or not. options: [key, name, tone].
export function Choices({ label, value, onValue, options }) {
	const id = useId();
	return (
		<div class="field" role="group" aria-labelledby={id}>
			<span id={id}>{label}</span>
			<div class="choices">{options.map(([key, name, tone]) => {
				const on = value.includes(key);
				return (
					<button type="button" key={key} class={classes('choice', tone)} aria-pressed={on}
						onClick={() => onValue(on ? value.filter((v) => v !== key) : [...value, key])}>
						{name}
					</button>
				);
			})}</div>
		</div>
	);
}

/* --- tables --- */

// columns: { key, title, value(row) -> what is shown, align: 'right', sort: name of the order, wide: hidden when narrow }.
// sort: { by, order } and onSort(by, order). href(row): the row leads there, too; its first cell has the link.
export function Table({ label, columns, rows, rowKey, sort, onSort, onRow, rowClass }) {
	return (
		<div class="scroll">
			<table role="table" aria-label={label}>
				<thead role="rowgroup">
					<tr role="row">
						{columns.map((c) => <Head key={c.key} column={c} sort={sort} onSort={onSort} />)}
					</tr>
				</thead>
				<tbody role="rowgroup">
					{rows.map((row, i) => (
						<tr role="row" key={rowKey ? rowKey(row) : i} class={classes(onRow && 'leads', rowClass?.(row))}
							onClick={onRow && ((e) => leads(e) && onRow(row))}>
							{columns.map((c) => (
								<td role="cell" key={c.key} data-label={c.title} class={classes(c.align, c.class)}>{c.value(row)}</td>
							))}
						</tr>
					))}
				</tbody>
			</table>
		</div>
	);
}

function Head({ column: c, sort, onSort }) {
	const is = sort && c.sort && sort.by === c.sort;
	const other = is && sort.order === 'desc' ? 'asc' : 'desc';
	return (
		<th role="columnheader" scope="col" class={classes(c.align, c.class)}
			aria-sort={is ? (sort.order === 'asc' ? 'ascending' : 'descending') : undefined}>
			{c.sort ? (
				<button type="button" class="sort" onClick={() => onSort(c.sort, is ? other : c.first || 'desc')}>
					{c.title}<span class={classes('arrow', is && sort.order)} aria-hidden="true" />
				</button>
			) : c.title}
		</th>
	);
}

// A click on a row counts unless it was on something that has its own meaning, or selected text.
function leads(e) {
	return !e.target.closest('a, button, input, summary') && String(getSelection()) === '';
}

/* --- dialogs --- */

// A dialog over the page; Escape and the cross close it unless it is `firm`. The browser keeps the focus in it; it goes
// back where it was.
export function Dialog({ title, onClose, firm, children, wide }) {
	const dialog = useRef(null), id = useId();
	useEffect(() => {
		// The browser gives the focus back when a dialog is closed, not when it goes with its element.
		const it = dialog.current, before = document.activeElement;
		it.showModal();
		return () => {
			it.close();
			before?.focus({ preventScroll: true });
		};
	}, []);
	return (
		<dialog ref={dialog} aria-labelledby={id} class={classes(wide && 'wide')}
			onCancel={(e) => {
				e.preventDefault();
				if (!firm) onClose();
			}}>
			<header>
				<h2 id={id}>{title}</h2>
				{!firm && <Button kind="quiet" icon="close" label="Close" onClick={onClose} />}
			</header>
			{children}
		</dialog>
	);
}

const question = store(null);

// Asks before something is done: resolves to true or false. { title, text, action: what the button says, danger }.
export function confirm(options) {
	return new Promise((resolve) => {
		question.set({
			...options,
			answer(yes) {
				question.set(null);
				resolve(yes);
			},
		});
	});
}

function Question() {
	const asked = question.use();
	if (!asked) return null;
	return (
		<Dialog title={asked.title} onClose={() => asked.answer(false)}>
			<div class="body">{asked.text}</div>
			<footer>
				<Button onClick={() => asked.answer(false)}>Cancel</Button>
				<Button kind={asked.danger ? 'danger' : 'main'} onClick={() => asked.answer(true)}>{asked.action}</Button>
			</footer>
		</Dialog>
	);
}

/* --- what was done, said in passing --- */

const said = store([]);
let number = 0;

// kind: 'ok' goes by itself; 'bad' stays until it is closed.
export function say(text, kind = 'ok') {
	const it = { id: ++number, text, kind };
	said.set((all) => [...all.slice(-3), it]);
	if (kind !== 'bad') setTimeout(() => forget(it.id), 6000);
}

function forget(id) {
	said.set((all) => all.filter((s) => s.id !== id));
}

function Said() {
	return (
		<div class="said" role="status" aria-live="polite">
			{said.use().map((s) => (
				<div key={s.id} class={`toast ${s.kind}`}>
					<span>{s.text}</span>
					<Button kind="quiet small" icon="close" label="Close" onClick={() => forget(s.id)} />
				</div>
			))}
		</div>
	);
}

export function Overlays() {
	return <><Question /><Said /></>;
}
