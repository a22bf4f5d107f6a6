// The same two routes as usher's, on ASP.NET's minimal API and Npgsql, for bench/run: GET /events/{id} and POST /users.
//
// Tuned by their own guides: slim builder, source-generated JSON, no logging, one NpgsqlDataSource, automatic preparation,
// a pool over the unix socket, insert and outbox row in one statement.
using System.Text.Json;
using System.Text.Json.Serialization;
using Npgsql;

var builder = WebApplication.CreateSlimBuilder(args);
builder.Logging.ClearProviders();
builder.Services.ConfigureHttpJsonOptions(o => o.SerializerOptions.TypeInfoResolverChain.Insert(0, Shapes.Default));
var app = builder.Build();

string[] venues = ["O2ArenaLondon", "WembleyStadiumLondon", "ManchesterArena", "UtilitaArenaBirmingham", "SSEHydroGlasgow",
    "FirstDirectArenaLeeds", "PrincipalityStadiumCardiff", "EmiratesOldTraffordManchester", "RoyalAlbertHallLondon",
    "RoundhouseLondon"];
var source = new NpgsqlSlimDataSourceBuilder(
    $"Host={Environment.GetEnvironmentVariable("PGHOST")};Username={Environment.GetEnvironmentVariable("PGUSER")};"
    + $"Database={Environment.GetEnvironmentVariable("PGDATABASE")};Maximum Pool Size=32;Max Auto Prepare=10;"
    + "Auto Prepare Min Usages=1;No Reset On Close=true").Build();

app.MapGet("/events/{id:guid}", async (Guid id) => {
    await using var command = source.CreateCommand(
        "SELECT id, event_name, start_date, end_date, venue, price FROM events.events WHERE id = $1");
    command.Parameters.Add(new NpgsqlParameter<Guid> { TypedValue = id });
    await using var rows = await command.ExecuteReaderAsync();
    if (!await rows.ReadAsync())
        return Results.NotFound();
    return Results.Json(new Event(rows.GetString(1), rows.GetDateTime(2), rows.GetDateTime(3), venues[rows.GetInt32(4)],
        rows.GetDecimal(5), rows.GetGuid(0)), Shapes.Default.Event);
});

app.MapPost("/users", async (User user) => {
    if (string.IsNullOrWhiteSpace(user.FullName) || user.Email is null || !user.Email.Contains('@'))
        return Results.BadRequest();
    var id = Guid.NewGuid();
    await using var command = source.CreateCommand("""
        WITH done AS (INSERT INTO users.users (id, full_name, email, user_type) VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING RETURNING id)
        INSERT INTO users.outbox (message_id, type, aggregate, payload, appended_at)
        SELECT $5, 'UserUpserted', done.id, $6, now() FROM done
        """);
    command.Parameters.Add(new NpgsqlParameter<Guid> { TypedValue = id });
    command.Parameters.Add(new NpgsqlParameter<string> { TypedValue = user.FullName });
    command.Parameters.Add(new NpgsqlParameter<string> { TypedValue = user.Email });
    command.Parameters.Add(new NpgsqlParameter<int> { TypedValue = user.UserType == "Administrator" ? 1 : 0 });
    command.Parameters.Add(new NpgsqlParameter<Guid> { TypedValue = Guid.CreateVersion7() });
    command.Parameters.Add(new NpgsqlParameter<string> {
        TypedValue = JsonSerializer.Serialize(new Upserted(id, user.FullName, user.Email), Shapes.Default.Upserted) });
    return await command.ExecuteNonQueryAsync() == 1 ? Results.Json(id, Shapes.Default.Guid) : Results.BadRequest();
});

app.Run($"http://127.0.0.1:{Environment.GetEnvironmentVariable("PORT")}");

record Event(string EventName, DateTime StartDate, DateTime EndDate, string Venue, decimal Price, Guid Id);
record User(string FullName, string Email, string UserType);
record Upserted(Guid Id, string FullName, string Email);

[JsonSerializable(typeof(Event)), JsonSerializable(typeof(User)), JsonSerializable(typeof(Upserted)), JsonSerializable(typeof(Guid))]
partial class Shapes : JsonSerializerContext;
