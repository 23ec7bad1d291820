import * as v from "valibot";
import type { ApiContext } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, json, type Reply } from "./http.ts";
import type { MoveBody } from "./protocol.ts";
import type { Route } from "./router.ts";

export function v2MoveRoutes(context: ApiContext): readonly Route[] {
  return [{ path: "moves", methods: { POST: (request) => move(context, request) } }];
}

export const moveRequest = v.strictObject({ unit: v.string(), from: v.string(), to: v.string() });

async function move({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const wanted = decodeBody(moveRequest, await request.body());
  const body: MoveBody = { outcome: await registry.move(wanted, request.call) };
  return json(200, body);
}
