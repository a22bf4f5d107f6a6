// Lints an OpenAPI document (file in argv) with Redocly's recommended rules; prints what they say, exit 1 on any.
import { createConfig, lint } from '@redocly/openapi-core';

const config = await createConfig({
  extends: ['recommended'],
});
const problems = await lint({ ref: process.argv[2], config });
for (const p of problems) console.log(`${p.severity} ${p.ruleId}: ${p.message} ${p.location?.[0]?.pointer ?? ''}`);
console.log(`${problems.length} problems`);
process.exit(problems.length > 0 ? 1 : 0);
