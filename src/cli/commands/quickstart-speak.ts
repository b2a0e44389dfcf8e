import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { systemClock } from '../../core/clock.ts'
import { readText, writeAtomic } from '../../core/files.ts'
import { check, parseJson } from '../../core/schema.ts'
import { CLOUD_DEFAULTS, CloudExecutor } from '../../run/executor/cloud.ts'
import { EdgeExecutor } from '../../run/executor/edge.ts'
import { fixedLink } from '../../run/executor/link.ts'
import { GREEDY } from '../../run/executor/types.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import { accuracyTable, readAccuracyTable, type AccuracyTable } from '../../plan/profile/accuracy.ts'
import { accuracyFileIn } from '../../plan/profile/shipped.ts'
import { startRelay } from '../../trace/replay/relay.ts'
import { formatSeconds } from '../../report/numbers.ts'
import { createLink } from '../../trace/link.ts'
import { listen } from '../../run/wire/server.ts'
import type { Io } from '../io.ts'
import { printLine } from '../io.ts'
import { packageRoot } from '../root.ts'
import { connectToCloud } from '../split/link.ts'
import { generateOne, timingOf } from '../split/generate.ts'
import { readPlan } from '../split/plan.ts'
import { openSide, type OpenedSide } from '../split/side.ts'
import { openLinkSource } from './link/source.ts'

const MODEL = 'tales'
const LINK = 'lte-driving'
const PROMPT = 'Once there was '
/**
 * The whole model here, all of it in the cloud, half of its layers there at two widths, half of the heads of every
 * layer there; each with as many tokens as a quickstart has time for.
 */
const PLANS = [
  { plan: 'edge', tokens: 280 },
  { plan: 'cloud', tokens: 80 },
  { plan: 'cut:4', tokens: 30 },
  { plan: 'cut:4@8', tokens: 30 },
  { plan: 'split:0.5', tokens: 6 },
] as const
const ANY_PORT = { host: '127.0.0.1', port: 0 } as const

const spokenSchema = z.strictObject({
  plan: z.string(),
  text: z.string(),
  /** As far as it goes, what the whole model on the edge says. */
  same: z.boolean(),
  ttftSeconds: z.number().nullable(),
  tpotSeconds: z.number().nullable(),
})

export type Spoken = z.infer<typeof spokenSchema>

const MAX_BYTES = 65_536

/** What was said before, or what the model says now, kept in `file`. */
export async function speakOnce(file: string, io: Io): Promise<Spoken[]> {
  if (existsSync(file)) {
    const before = check(z.array(spokenSchema), parseJson(readText(file, MAX_BYTES), file), file)
    for (const spoken of before) tell(spoken, io)
    return before
  }
  // Real messages take real time, whatever clock the command tells the time by.
  const spoken = await speak({ ...io, clock: systemClock })
  writeAtomic(file, `${JSON.stringify(spoken, null, 2)}\n`)
  return spoken
}

/** The built-in model generates, split between two executors over the real wire and a replayed link. */
async function speak(io: Io): Promise<Spoken[]> {
  const options = { model: MODEL, precision: 'fp32', threads: 1, memoryGb: 1 }
  const [edge, cloud] = [await openSide(options, io), await openSide(options, io, 4)]
  try {
    return await speakBetween(edge, cloud, io)
  } finally {
    await edge.close()
    await cloud.close()
  }
}

async function speakBetween(edge: OpenedSide, cloud: OpenedSide, io: Io): Promise<Spoken[]> {
  const { clock } = io
  const { model } = cloud.pretrained.source
  const { runner } = cloud.execution
  const server = await listen({
    ...{ ...ANY_PORT, clock, greet: () => ({ welcome: cloud.greeting }) },
    onConnection: (connection) => new CloudExecutor(connection, { model, runner, clock, ...CLOUD_DEFAULTS }),
  })
  const path = join(packageRoot(), 'traces', 'links', `${LINK}.yaml`)
  const link = createLink(await openLinkSource(path, { seed: 1, modelSeconds: 600 }))
  const to = { host: ANY_PORT.host, port: server.port }
  const relay = await startRelay({ listen: ANY_PORT, to, link, clock })
  try {
    const connection = await connectToCloud(relay, edge.greeting, MODEL, io)
    const executor = new EdgeExecutor({
      model,
      runner: edge.execution.runner,
      clock,
      link: fixedLink(connection),
      maxInFlight: 1,
    })
    const spoken: Spoken[] = []
    for (const task of PLANS) spoken.push(await sayOnce(executor, edge, task, spoken, io))
    await connection.close()
    return spoken
  } finally {
    await relay.close()
    await server.close()
  }
}

/** The order in which heads go to the cloud: as it was measured, where it was. */
function rankingOf({ path, source: { model } }: PretrainedModel): AccuracyTable['ranking'] {
  const file = accuracyFileIn(path, model.id)
  return (file === null ? accuracyTable(model) : readAccuracyTable(file, model)).ranking
}

async function sayOnce(
  executor: EdgeExecutor,
  { pretrained }: OpenedSide,
  { plan, tokens }: (typeof PLANS)[number],
  before: readonly Spoken[],
  io: Io,
): Promise<Spoken> {
  const { source, tokenizer, stopIds } = pretrained
  const placed = readPlan(plan, source, rankingOf(pretrained))
  const prompt = tokenizer!.encode(PROMPT)
  const request = { prompt, maxNewTokens: tokens, sampling: GREEDY, stopIds, ...placed }
  // Once for the sessions, once for the clock.
  const options = { signal: io.signal, explain: false, onToken: () => {} }
  await generateOne(executor, { ...request, maxNewTokens: 2 }, options)
  const generation = await generateOne(executor, request, options)
  const text = tokenizer!.decode(generation.tokens.map(({ id }) => id))
  const { ttftSeconds, tpotSeconds } = timingOf(generation)
  const same = before.length === 0 || before[0].text.startsWith(text)
  const spoken = { plan, text, same, ttftSeconds, tpotSeconds }
  tell(spoken, io)
  return spoken
}

/** The first one's text, and a line for each. */
function tell({ plan, text, same, ttftSeconds, tpotSeconds }: Spoken, io: Io): void {
  if (plan === PLANS[0].plan) printLine(io, `${PROMPT}${text}\n`)
  const time = (seconds: number | null) => (seconds === null ? 'not measured' : formatSeconds(seconds))
  const tokens = same ? 'the same tokens' : 'other tokens'
  printLine(io, `${plan.padEnd(10)} TTFT ${time(ttftSeconds)}, TPOT ${time(tpotSeconds)}: ${tokens}`)
}
