// otlp-decode.cjs - reads lines "traces|metrics|logs BASE64" on stdin and prints one JSON line for each, decoded by
// OpenTelemetry's own generated code. A body that is not exactly such a message fails.
const generated = require('@opentelemetry/otlp-transformer/build/src/generated/root.js');
const { trace, metrics, logs } = generated.opentelemetry.proto.collector;
const types = {
    traces: trace.v1.ExportTraceServiceRequest,
    metrics: metrics.v1.ExportMetricsServiceRequest,
    logs: logs.v1.ExportLogsServiceRequest,
};
const hex = (bytes) => Buffer.from(bytes).toString('hex');
const replacer = (key, value) => (/(traceId|spanId|parentSpanId)$/.test(key) ? hex(Object.values(value)) : value);

for (const line of require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
    const [kind, body] = line.split(' ');
    const type = types[kind];
    const message = type.decode(Buffer.from(body, 'base64'));
    const wrong = type.verify(message);
    if (wrong) throw new Error(wrong);
    const plain = type.toObject(message, { longs: String, enums: String, bytes: Array, arrays: true });
    console.log(JSON.stringify(plain, replacer));
}
