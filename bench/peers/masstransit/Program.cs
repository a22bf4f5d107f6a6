// MassTransit publishing messages of 500 bytes, confirmed, for bench/bus_cases.py: dotnet peer.dll HOST PORT COUNT
//
// From memory: reading an outbox would cost it more. 500 are on their way at once, confirms are on as they are by default.
// 2000 messages before the clock starts are for the compiler.
using System.Diagnostics;
using System.Text.Json;
using Domain.Tickets.Messages;
using MassTransit;

const int Batch = 500, WarmUp = 2000;
var count = int.Parse(args[2]);
var bus = Bus.Factory.CreateUsingRabbitMq(configuration => configuration.Host(args[0], ushort.Parse(args[1]), "/", host =>
{
    host.Username("guest");
    host.Password("guest");
}));
await bus.StartAsync(new CancellationTokenSource(TimeSpan.FromMinutes(2)).Token);
var note = new string('x', 500 - JsonSerializer.Serialize(new { id = Guid.NewGuid(), venue = 3, price = "12.50", note = "" }).Length);

async Task Publish(int n)
{
    var tasks = new List<Task>(Batch);
    for (var sent = 0; sent < n;)
    {
        tasks.Clear();
        for (; tasks.Count < Batch && sent < n; sent++)
            tasks.Add(bus.Publish(new EventUpserted { Id = Guid.NewGuid(), Venue = 3, Price = 12.50m, Note = note }));
        await Task.WhenAll(tasks);
    }
}

await Publish(WarmUp);
var process = Process.GetCurrentProcess();
var cpu = process.TotalProcessorTime;
var clock = Stopwatch.StartNew();
await Publish(count);
var seconds = clock.Elapsed.TotalSeconds;
process.Refresh();
Console.WriteLine(JsonSerializer.Serialize(new { messages = count, warm_up = WarmUp, seconds,
    cpu_s = (process.TotalProcessorTime - cpu).TotalSeconds, rss_mb = process.WorkingSet64 / 1048576.0 }));
await bus.StopAsync();

namespace Domain.Tickets.Messages
{
    public record EventUpserted
    {
        public Guid Id { get; init; }
        public int Venue { get; init; }
        public decimal Price { get; init; }
        public string Note { get; init; } = "";
    }
}
