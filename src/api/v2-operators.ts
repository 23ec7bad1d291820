import * as v from "valibot";
import type { ApiContext } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, json, Refusal, type Reply } from "./http.ts";
import type { OperatorBody } from "./protocol.ts";
import type { Route } from "./router.ts";

export function v2OperatorRoutes(context: ApiContext): readonly Route[] {
  return [
    {
      path: "machines/:id/operator",
      methods: { POST: (request) => changeOperator(context, request) },
    },
  ];
}

const KEYS_MAX = 1_000;
const key = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9_.-]{1,250}$/, "expected letters, digits, _ . -"),
);
const value = v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(4_000)));

export const operatorChange = v.strictObject({
  cordoned: v.exactOptional(v.boolean()),
  draining: v.exactOptional(v.boolean()),
  metadata: v.exactOptional(v.pipe(v.record(key, value), v.maxEntries(KEYS_MAX))),
  reset: v.exactOptional(v.pipe(v.array(key), v.maxLength(KEYS_MAX))),
  evacuate: v.exactOptional(v.literal(true)),
});

async function changeOperator({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const id = request.params["id"] ?? "";
  const change = decodeBody(operatorChange, await request.body());
  const outcome = await registry.changeOperator(id, change, request.call);
  switch (outcome.type) {
    case "not-found":
      throw new Refusal(404, "not-found", `machine ${id} is not known`);
    case "present":
      throw new Refusal(
        409,
        "conflict",
        `machine ${id} is present: only one that is away can be given up`,
      );
    case "changed": {
      const { cordoned, draining, metadata } = outcome.record;
      const body: OperatorBody = { cordoned, draining, metadata };
      return json(200, body);
    }
  }
}
