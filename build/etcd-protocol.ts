import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Plugin } from "esbuild";

/**
 * The etcd3 package reads its protocol from .proto files beside it, at every start. In a single file there is nothing beside it, so the parsed
 * protocol takes the place of the reading. A version of etcd3 that reads it in another way ends the build.
 */
export const embedEtcdProtocol: Plugin = {
  name: "embed-etcd-protocol",
  setup(building) {
    building.onLoad({ filter: /[/]etcd3[/]lib[/]connection-pool[.]js$/ }, ({ path }) => {
      const source = readFileSync(path, "utf8");
      const reading = /proto_loader_1\.loadSync\)\(`\$\{__dirname\}\/\.\.\/proto\/rpc\.proto`/;
      if (!reading.test(source)) throw new Error(`${path} does not read its protocol as expected`);
      const protocol = JSON.stringify(parseProtocol(join(dirname(path), "../proto/rpc.proto")));
      // A function: the text may hold what replace() takes for patterns.
      const contents = source.replace(reading, () => `proto_loader_1.fromJSON)(${protocol}`);
      return { contents, loader: "js" };
    });
  },
};

interface Protobufjs {
  readonly Root: new () => {
    loadSync(file: string, options: { readonly keepCase: boolean }): { toJSON(): object };
  };
}

/** By the package that would read it at run time, which comes with etcd3. */
function parseProtocol(file: string): object {
  const require = createRequire(import.meta.url);
  const loader = createRequire(require.resolve("etcd3"));
  const { Root }: Protobufjs = createRequire(loader.resolve("@grpc/proto-loader"))("protobufjs");
  return new Root().loadSync(file, { keepCase: true }).toJSON();
}
