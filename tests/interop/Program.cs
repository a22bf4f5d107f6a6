// The real MassTransit on the other side of the broker: says what it consumes, publishes what it is told.
//
//   dotnet Interop.dll HOST PORT VHOST
//
// Each line on stdin is JSON {"type": "event" | "release" | "user", "message": {...}}; it is published inside an activity.
// Each line on stdout is JSON: {"ready": true}, {"published": ..., "trace": ...} or {"consumed": ..., ...}.
using System.Diagnostics;
using System.Text.Json;
using MassTransit;

// Without a listener there are no activities, and no trace context on the wire.
Activity.DefaultIdFormat = ActivityIdFormat.W3C;
ActivitySource.AddActivityListener(new ActivityListener
{
    ShouldListenTo = _ => true,
    Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
});
var source = new ActivitySource("interop");

var bus = Bus.Factory.CreateUsingRabbitMq(configuration =>
{
    configuration.Host(args[0], ushort.Parse(args[1]), args[2], host =>
    {
        host.Username("guest");
        host.Password("guest");
    });
    configuration.ReceiveEndpoint("interop", endpoint =>
    {
        endpoint.Consumer<Listener<Integration.Events.Messaging.EventUpserted>>();
        endpoint.Consumer<Listener<Domain.Tickets.Messages.EventUpserted>>();
        endpoint.Consumer<Listener<Integration.Users.Messaging.Messages.UserUpserted>>();
        endpoint.Consumer<Listener<Fault<Integration.Events.Messaging.EventUpserted>>>();
    });
});
await bus.StartAsync(new CancellationTokenSource(TimeSpan.FromMinutes(2)).Token);
Say.Line(new { ready = true });

while (await Console.In.ReadLineAsync() is { } line)
{
    using var activity = source.StartActivity("publish");
    activity!.AddBaggage("tenant", "interop");
    var command = JsonDocument.Parse(line).RootElement;
    var options = new JsonSerializerOptions(JsonSerializerDefaults.Web);
    object message = command.GetProperty("type").GetString() switch
    {
        "event" => command.GetProperty("message").Deserialize<Integration.Events.Messaging.EventUpserted>(options)!,
        "release" => command.GetProperty("message").Deserialize<Domain.Tickets.Messages.EventUpserted>(options)!,
        "user" => command.GetProperty("message").Deserialize<Integration.Users.Messaging.Messages.UserUpserted>(options)!,
        _ => throw new ArgumentException("event, release or user"),
    };
    await bus.Publish(message, message.GetType());
    Say.Line(new { published = message.GetType().FullName, trace = activity.TraceId.ToHexString() });
}
await bus.StopAsync();

public static class Say
{
    public static void Line(object what)
    {
        lock (typeof(Say)) Console.Out.WriteLine(JsonSerializer.Serialize(what));
    }
}

public class Listener<T> : IConsumer<T> where T : class
{
    public Task Consume(ConsumeContext<T> context)
    {
        Say.Line(new
        {
            consumed = typeof(T).IsGenericType ? "Fault" : typeof(T).FullName,
            message = (object)context.Message,
            messageId = context.MessageId,
            conversationId = context.ConversationId,
            sentTime = context.SentTime,
            source = context.SourceAddress?.AbsolutePath,
            host = context.Host.ProcessName,
            trace = Activity.Current?.TraceId.ToHexString(),
            headers = context.Headers.GetAll().GroupBy(h => h.Key).ToDictionary(h => h.Key, h => h.First().Value?.ToString()),
        });
        return Task.CompletedTask;
    }
}

namespace Integration.Events.Messaging
{
    public record EventUpserted
    {
        public Guid Id { get; init; }
        public string EventName { get; init; } = "";
        public DateTimeOffset StartDate { get; init; }
        public DateTimeOffset EndDate { get; init; }
        public int Venue { get; init; }
        public decimal Price { get; init; }
    }
}

namespace Domain.Tickets.Messages
{
    public record EventUpserted
    {
        public Guid Id { get; init; }
        public int Venue { get; init; }
        public decimal Price { get; init; }
    }
}

namespace Integration.Users.Messaging.Messages
{
    public record UserUpserted
    {
        public Guid Id { get; init; }
        public string FullName { get; init; } = "";
        public string Email { get; init; } = "";
    }
}
