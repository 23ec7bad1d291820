import { FleetError } from "../runtime/errors.ts";
import { NodeLink, type NodeLinkOptions, type NodeProxyParts } from "./node-link.ts";
import type { DataPlane, ProxyLink } from "./proxy.ts";

export interface NodePlane extends DataPlane {
  open(link: NodeLinkOptions): Promise<ProxyLink>;
}

/** Data plane in this thread: no dependency, every option. */
export function nodeProxy(parts: NodeProxyParts): NodePlane {
  const links = new Map<string, NodeLink>();
  return {
    async open(options: NodeLinkOptions): Promise<ProxyLink> {
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
