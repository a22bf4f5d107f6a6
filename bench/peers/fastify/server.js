// The same two routes as usher's, on Fastify and pg, for bench/run: GET /events/:id and POST /users.
//
// Tuned by their own guides: response schemas (fast-json-stringify), no logger, named (prepared) statements, one pool over
// the unix socket, one process (Fastify's guide: one instance per core and leave room for the rest), insert and outbox row in one statement.
import Fastify from 'fastify';
import pg from 'pg';
import { randomUUID } from 'node:crypto';

const VENUES = ['O2ArenaLondon', 'WembleyStadiumLondon', 'ManchesterArena', 'UtilitaArenaBirmingham', 'SSEHydroGlasgow',
    'FirstDirectArenaLeeds', 'PrincipalityStadiumCardiff', 'EmiratesOldTraffordManchester', 'RoyalAlbertHallLondon',
    'RoundhouseLondon'];
const pool = new pg.Pool({ max: Number(process.env.POOL ?? 16) });
const app = Fastify({ logger: false });

const event = {
    type: 'object',
    properties: {
        EventName: { type: 'string' }, StartDate: { type: 'string' }, EndDate: { type: 'string' }, Venue: { type: 'string' },
        Price: { type: 'number' }, Id: { type: 'string' },
    },
};
const user = {
    type: 'object',
    required: ['FullName', 'Email'],
    properties: {
        FullName: { type: 'string', minLength: 1 },
        Email: { type: 'string', pattern: '^[^@ ]+@[^@ ]+$' },
        UserType: { enum: ['Customer', 'Administrator'] },
    },
};

app.get('/events/:id', {
    schema: { params: { type: 'object', properties: { id: { type: 'string', minLength: 36, maxLength: 36 } } },
        response: { 200: event } },
}, async (request, reply) => {
    const { rows } = await pool.query({
        name: 'event_get',
        text: 'SELECT id, event_name, start_date, end_date, venue, price FROM events.events WHERE id = $1',
        values: [request.params.id],
    });
    if (rows.length === 0)
        return reply.code(404).send();
    const e = rows[0];
    return { EventName: e.event_name, StartDate: e.start_date.toISOString(), EndDate: e.end_date.toISOString(),
        Venue: VENUES[e.venue], Price: Number(e.price), Id: e.id };
});

app.post('/users', { schema: { body: user, response: { 200: { type: 'string' } } } }, async (request, reply) => {
    const { FullName, Email, UserType } = request.body;
    const id = randomUUID();
    const payload = JSON.stringify({ id, fullName: FullName, email: Email });
    const { rowCount } = await pool.query({
        name: 'user_create',
        text: `WITH done AS (INSERT INTO users.users (id, full_name, email, user_type) VALUES ($1, $2, $3, $4)
                   ON CONFLICT DO NOTHING RETURNING id)
               INSERT INTO users.outbox (message_id, type, aggregate, payload, appended_at)
               SELECT $5, 'UserUpserted', done.id, $6, now() FROM done`,
        values: [id, FullName, Email, UserType === 'Administrator' ? 1 : 0, randomUUID(), payload],
    });
    return rowCount === 1 ? id : reply.code(400).send();
});

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
