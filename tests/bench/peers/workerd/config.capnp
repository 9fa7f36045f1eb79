# workerd: one Durable Object with SQLite storage an agent. The folder and the address come on the command line.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .agents),
    (name = "disk", disk = (writable = true)),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);

const agents :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [(className = "Agent", uniqueKey = "podium-bench", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "AGENTS", durableObjectNamespace = "Agent")],
);
