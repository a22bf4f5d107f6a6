// Reads lines {"schema": "EventsCreate", "body": …, "of": "where from"} and validates each with ajv against
// contracts/schemas; prints what does not fit and a count, exit 1 when something does not.
import { readFileSync, readdirSync } from 'node:fs';
import Ajv from 'ajv/dist/2020.js';
import formats from 'ajv-formats';

const folder = process.argv[2];
const ajv = new Ajv({ strict: true, strictTypes: false, strictRequired: false, allErrors: true, allowUnionTypes: true });
formats(ajv);
for (const file of readdirSync(folder)) if (file.endsWith('.json')) ajv.addSchema(JSON.parse(readFileSync(`${folder}/${file}`)));
let good = 0, bad = 0;
for (const line of readFileSync(0, 'utf8').split('\n')) {
  if (!line) continue;
  const { schema, body, of, fits = true } = JSON.parse(line);
  const validate = ajv.getSchema(`${schema}.json`);
  if (!validate) { console.log(`${of}: there is no schema ${schema}`); bad++; continue; }
  if (validate(body) === fits) { good++; continue; }
  bad++;
  console.log(`${of}: ${schema}: ${fits ? ajv.errorsText(validate.errors) : 'should not fit'}: ${JSON.stringify(body).slice(0, 300)}`);
}
console.log(`${good} fit, ${bad} do not`);
process.exit(bad > 0 ? 1 : 0);
