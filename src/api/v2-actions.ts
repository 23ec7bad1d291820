import * as v from "valibot";
import type { ApiContext } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { holderElsewhere, pass, unitName } from "./holder.ts";
import { empty } from "./http.ts";
import type { Route } from "./router.ts";

/** A reload runs the unit's ExecReload=, which may take its time. */
const ACTION_MS = 100_000;

export const actionRequest = v.variant("action", [
  v.object({ action: v.literal("reload") }),
  v.object({ action: v.literal("reset-failed") }),
  v.object({
    action: v.literal("kill"),
    signal: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(64)),
  }),
]);

/** What is done at once by the machine that has the unit, and leaves no trace in the registry. */
export function v2ActionRoutes(context: ApiContext): readonly Route[] {
  return [
    {
      path: "units/:name/act",
      methods: {
        POST: async (request) => {
          const name = unitName(request);
          const body = await request.body();
          const action = decodeBody(actionRequest, body);
          const machine = await holderElsewhere(context, request);
          if (machine !== undefined) {
            return await pass(context, request, { machine, headMs: ACTION_MS, body });
          }
          await context.daemon.act(name, action, request.signal);
          return empty(204);
        },
      },
    },
  ];
}
