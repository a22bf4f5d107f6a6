// Reads an AsyncAPI document (file in argv) with AsyncAPI's own parser; prints what it says, exit 1 on any error or warning.
import { readFile } from 'node:fs/promises';
import { Parser } from '@asyncapi/parser';

const parser = new Parser();
const { document, diagnostics } = await parser.parse(await readFile(process.argv[2], 'utf8'));
// 0 error, 1 warning, 2 information, 3 hint
for (const d of diagnostics) console.log(`${d.severity} ${d.code}: ${d.message} ${d.path.join('/')}`);
if (document) {
  console.log(JSON.stringify({
    version: document.version(),
    channels: document.channels().all().map((c) => c.address()),
    messages: document.allMessages().all().map((m) => m.name()),
    send: document.operations().filterBySend().map((o) => o.id()),
    receive: document.operations().filterByReceive().map((o) => o.id()),
  }));
}
process.exit(!document || diagnostics.some((d) => d.severity < 2) ? 1 : 0);
