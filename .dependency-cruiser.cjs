// Imports run one way: main -> program -> port -> core, and main -> adapter -> port (ARCHITECTURE.md).
// A file's name tells its kind, see CONTRIBUTING.md.
const CORE = "^src/(units|cluster|services)/";
const ADAPTER = [
  "^src/runtime/(system|virtual|seeded|pino)-",
  "^src/registry/(etcd|embedded)-",
  "^src/agent/(dbus|memory|linux)-",
  "^src/cli/ssh2-",
];
const MAIN = ["^src/[a-z]+/[a-z-]*main[.]ts$", "^src/daemon/"];

module.exports = {
  forbidden: [
    {
      name: "core-imports-core",
      comment: "units and cluster are pure: values in, values out",
      severity: "error",
      from: { path: CORE },
      to: { path: "^src/", pathNot: "^src/(units/|cluster/|services/|runtime/errors\\.ts$)" },
    },
    {
      name: "core-does-no-io",
      comment: "hashing and assertions are all the core may take from Node",
      severity: "error",
      from: { path: CORE },
      to: { dependencyTypes: ["core"], pathNot: "^(node:)?(crypto|assert)(/strict)?$" },
    },
    {
      name: "ports-import-core",
      severity: "error",
      from: {
        path: "^src/(registry/store|agent/systemd|agent/host|runtime/(clock|random|logger))\\.ts$",
      },
      to: { path: "^src/", pathNot: "^src/(units|cluster|services|runtime)/" },
    },
    {
      name: "only-main-picks-adapters",
      comment: "programs know ports; which adapter stands behind one is decided in main",
      severity: "error",
      from: { path: "^src/", pathNot: [...MAIN, ...ADAPTER] },
      to: { path: ADAPTER },
    },
    {
      name: "packages-behind-adapters",
      severity: "error",
      from: {
        path: "^src/",
        pathNot:
          "^src/(registry/etcd-|cli/ssh2-|agent/dbus-|dns/wire-|runtime/pino-|daemon/config)",
      },
      to: { path: "node_modules/(etcd3|ssh2|dns-packet|dbus-native|pino|ini|@grpc)/" },
    },
    {
      name: "programs-are-strangers",
      comment:
        "they meet in the registry; types of the API's bodies and the way to the services socket are shared with clients; a sync runs in the client as in the daemon",
      severity: "error",
      from: { path: "^src/(engine|agent|registrar|dns|sidekick|ambassador|api|cli|sync)/" },
      to: {
        path: "^src/(engine|agent|registrar|dns|sidekick|ambassador|api|cli|sync)/",
        pathNot: [
          "^src/$1/",
          "^src/api/protocol\\.ts$",
          "^src/registrar/(protocol|services-client)\\.ts$",
          "^src/sync/(sync|notify|sync-text|sync-cluster|open-tree|git-signature)\\.ts$",
        ],
      },
    },
    {
      name: "src-ignores-test",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(test|lab|bench)/" },
    },
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "require", "node", "default", "types"],
    },
  },
};
