// index.jsx -- the hub's pages: products, sessions, a session.
import { render } from 'preact';
import { Layout } from '../shared/layout.jsx';
import { href, match, route } from '../shared/router.js';
import { Empty } from '../shared/ui.jsx';
import { Products } from './products.jsx';
import { Session } from './session.jsx';
import { Sessions } from './sessions.jsx';
import './hub.css';

const views = [
	['/', Products, 'Products'],
	['/sessions', Sessions, 'Sessions'],
	['/sessions/*', Session, 'Session'],
];

function Lost() {
	return <Empty title="There is no such page"><p><a href="#/">To the products</a></p></Empty>;
}

function Hub() {
	const { path, params } = route.use();
	const found = views.map(([pattern, View, title]) => ({ View, title, parts: match(pattern, path) })).find((v) => v.parts);
	const View = found?.View || Lost;
	const ways = [
		{ href: href('/'), name: 'Products', here: path === '/' },
		{ href: href('/sessions'), name: 'Sessions', here: path === '/sessions' },
	];
	return (
		<Layout name="weir hub" server="The hub" ways={ways} title={found?.title || 'No such page'}
			keyHelp="It is in the file that hub.api_key_file names on the hub's machine.">
			<View key={found?.parts?.[0]} id={found?.parts?.[0]} params={params} />
		</Layout>
	);
}

render(<Hub />, document.getElementById('app'));
