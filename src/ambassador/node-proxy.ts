import { FleetError } from "../runtime/errors.ts";
import { NodeLink, type NodeProxyParts } from "./node-link.ts";
import type { DataPlane, LinkOptions, ProxyLink } from "./proxy.ts";

/** Data plane in this process: no dependency, every option. */
export function nodeProxy(parts: NodeProxyParts): DataPlane {
  const links = new Map<string, NodeLink>();
  return {
    async open(options: LinkOptions): Promise<ProxyLink> {
      if (links.has(options.name)) {
        throw new FleetError("proxy-address", `there is a link ${options.name} already`);
      }
      const link = await NodeLink.open(parts, options, () => links.delete(options.name));
      links.set(options.name, link);
      return link;
    },
    async close() {
      await Promise.all([...links.values()].map((link) => link.close()));
    },
  };
}
