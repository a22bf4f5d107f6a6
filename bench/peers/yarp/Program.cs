// Everything to one back end by YARP, for bench/run: the port to serve is PORT, the back end BACKEND.
//
// As its own guide has it for speed: slim builder, no logging, routes from memory, HTTP/1.1 to the back end (which has
// nothing else). All else stays as it comes, X-Forwarded-* among it.
using Yarp.ReverseProxy.Configuration;

var builder = WebApplication.CreateSlimBuilder(args);
builder.Logging.ClearProviders();
builder.WebHost.ConfigureKestrel(options => options.ListenLocalhost(int.Parse(Environment.GetEnvironmentVariable("PORT")!)));
builder.Services.AddReverseProxy().LoadFromMemory(
    [new RouteConfig { RouteId = "all", ClusterId = "back", Match = new RouteMatch { Path = "{**all}" } }],
    [new ClusterConfig {
        ClusterId = "back",
        HttpRequest = new Yarp.ReverseProxy.Forwarder.ForwarderRequestConfig {
            Version = new Version(1, 1), VersionPolicy = HttpVersionPolicy.RequestVersionExact },
        Destinations = new Dictionary<string, DestinationConfig> {
            ["one"] = new() { Address = Environment.GetEnvironmentVariable("BACKEND")! } } }]);
var app = builder.Build();
app.MapReverseProxy();
app.Run();
