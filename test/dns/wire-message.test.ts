import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode, type OptAnswer, type Packet } from "dns-packet";
import fc from "fast-check";
import { answerTo } from "../../src/dns/answer.ts";
import { parseAskedName } from "../../src/dns/names.ts";
import { decodeQuery, encodeAnswer } from "../../src/dns/wire-message.ts";

const QUESTION = { type: "A", name: "db.Service.fleet", class: "IN" } as const;
const OPT: OptAnswer = {
  type: "OPT",
  name: ".",
  udpPayloadSize: 4_096,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

function reply(bytes: Buffer, addresses: number, by: "udp" | "tcp" = "udp") {
  const decoded = decodeQuery(bytes);
  if (decoded.type !== "query") return decoded;
  const { question } = decoded.query;
  const many = Array.from({ length: addresses }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
  const facts = { type: "addresses", addresses: many } as const;
  const answer = answerTo(question, parseAskedName("x.machine.fleet"), facts, 0);
  const encoded = encodeAnswer(decoded.query, answer, by);
  return { type: "reply", bytes: encoded.length, packet: decode(encoded) } as const;
}

function replied(query: Packet, addresses: number, by: "udp" | "tcp" = "udp") {
  const answered = reply(encode({ type: "query", id: 7, ...query }), addresses, by);
  assert(answered.type === "reply");
  return answered;
}

test("an answer repeats id, question and the wish for recursion, and says whose it is", () => {
  const { packet } = replied({ flags: 0x100, questions: [QUESTION] }, 1);
  assert.equal(packet.id, 7);
  assert.deepEqual(packet.questions, [QUESTION]);
  assert.deepEqual([packet.flag_aa, packet.flag_rd, packet.flag_ra], [true, true, false]);
  assert.deepEqual(packet.additionals, []);
  assert.equal(packet.answers?.length, 1);
});

test("an answer by UDP is as long as the client can take, by TCP as long as it is", () => {
  const plain = replied({ questions: [QUESTION] }, 40);
  assert.deepEqual([plain.packet.flag_tc, plain.packet.answers?.length], [true, 0]);
  const edns = replied({ questions: [QUESTION], additionals: [OPT] }, 30);
  assert.deepEqual([edns.packet.flag_tc, edns.packet.answers?.length], [false, 30]);
  assert.equal(edns.packet.additionals?.[0]?.type, "OPT");
  const larger = replied({ questions: [QUESTION], additionals: [OPT] }, 80);
  assert.deepEqual([larger.packet.flag_tc, larger.packet.answers?.length], [true, 0]);
  const tcp = replied({ questions: [QUESTION] }, 1_000, "tcp");
  assert.deepEqual([tcp.packet.flag_tc, tcp.packet.answers?.length], [false, 1_000]);
});

test("what is no plain query gets the reason, what is no query at all gets nothing", () => {
  const codeOf = (query: Packet): number | undefined => {
    const answered = reply(encode({ type: "query", id: 7, ...query }), 1);
    if (answered.type !== "rejected") return undefined;
    const opt = decode(answered.reply).additionals?.[0];
    const high = opt?.type === "OPT" ? opt.extendedRcode << 4 : 0;
    return high | (answered.reply.readUInt16BE(2) & 15);
  };
  assert.equal(codeOf({ questions: [] }), 1);
  assert.equal(codeOf({ questions: [QUESTION, QUESTION] }), 1);
  assert.equal(codeOf({ questions: [QUESTION], flags: 5 << 11 }), 4);
  assert.equal(codeOf({ questions: [QUESTION], additionals: [{ ...OPT, ednsVersion: 1 }] }), 16);
  assert.equal(codeOf({ questions: [QUESTION] }), undefined);
  assert.equal(reply(encode({ type: "response", questions: [QUESTION] }), 1).type, "ignored");
  assert.equal(decodeQuery(Buffer.alloc(11)).type, "ignored");
});

test("any bytes get an answer that can be read, a reason, or nothing", () => {
  const query = encode({ type: "query", id: 7, questions: [QUESTION], additionals: [OPT] });
  const change = fc.tuple(fc.nat(query.length - 1), fc.nat(255));
  const damaged = fc.array(change, { maxLength: 4 }).map((changes) => {
    const bytes = Buffer.from(query);
    for (const [at, value] of changes) bytes[at] = value;
    return bytes;
  });
  const noise = fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.oneof(damaged, noise), (bytes) => {
      const answered = reply(bytes, 3);
      if (answered.type !== "rejected") return;
      assert.equal(decode(answered.reply).id, bytes.readUInt16BE(0));
    }),
    { numRuns: 500, seed: 1 },
  );
});
