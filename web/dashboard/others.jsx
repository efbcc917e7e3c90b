// others.jsx -- services that this page does not know, by the shape of what they tell: numbers and texts as facts, lists
// of objects as tables. So a new service shows up by itself.
import { Ago, bytes, count, figure } from '../shared/format.jsx';
import { Facts, Table } from '../shared/ui.jsx';

const KNOWN = ['version', 'uptime_seconds', 'started_at', 'listeners', 'upstreams', 'health', 'outbox', 'git', 'mirror',
	'sessions'];
const MOST_ROWS = 50, MOST_COLUMNS = 8;

const words = (key) => key.replaceAll('_', ' ');
const isPlain = (v) => ['number', 'string', 'boolean'].includes(typeof v);

function show(key, v) {
	if (typeof v === 'boolean') return v ? 'yes' : 'no';
	if (typeof v === 'number') return key.endsWith('bytes') ? bytes(v) : Number.isInteger(v) ? count(v) : figure(v);
	if (typeof v === 'string') return key.endsWith('_at') || key === 'since' ? <Ago t={v} /> : v || '–';
	return '–';
}

function facts(o, before = '') {
	return Object.entries(o).flatMap(([key, v]) => (isPlain(v) ? [[words(before + key), show(key, v)]]
		: v && typeof v === 'object' && !Array.isArray(v) ? facts(v, `${before + key} `) : []));
}

function List({ name, items }) {
	const keys = Object.keys(items[0]).filter((key) => isPlain(items[0][key])).slice(0, MOST_COLUMNS);
	return (
		<>
			<h3 class="break">{words(name)}</h3>
			<Table label={words(name)} rows={items.slice(0, MOST_ROWS)}
				columns={keys.map((key) => ({ key, title: words(key), class: 'break', value: (row) => show(key, row[key]) }))} />
			{items.length > MOST_ROWS && <p class="muted">and {count(items.length - MOST_ROWS)} more; the API lists them all</p>}
		</>
	);
}

export function Others({ status }) {
	const found = Object.entries(status).filter(([name, o]) => !KNOWN.includes(name) && o && typeof o === 'object' &&
		Object.keys(o).length > 0);
	return found.map(([name, o]) => (
		<section key={name} class="section" aria-label={name}>
			<h2 class="break">{name}</h2>
			<div class="panel pad stack">
				<Facts rows={facts(o)} />
				{Object.entries(o).filter(([, v]) => Array.isArray(v) && v[0] && typeof v[0] === 'object')
					.map(([key, items]) => <List key={key} name={key} items={items} />)}
			</div>
		</section>
	));
}
