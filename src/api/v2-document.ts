import type { ApiContext } from "./context.ts";
import { json, type Reply } from "./http.ts";
import type { Route } from "./router.ts";

export function v2DocumentRoutes(context: ApiContext): readonly Route[] {
  return [{ path: "openapi.json", methods: { GET: () => getDocument(context) } }];
}

async function getDocument({ daemon }: ApiContext): Promise<Reply> {
  // A daemon that nobody asks for it does without all that it is made of.
  const { openApiDocument } = await import("./v2-openapi.ts");
  return json(200, openApiDocument(daemon.version));
}
