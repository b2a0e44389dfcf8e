import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { systemClock } from '../../core/clock.ts'
import { readText, writeAtomic } from '../../core/files.ts'
import { check, parseJson } from '../../core/schema.ts'
import { GREEDY } from '../../run/executor/types.ts'
import { startRelay } from '../../trace/replay/relay.ts'
import { formatSeconds } from '../../report/numbers.ts'
import { createLink } from '../../trace/link.ts'
import { createCloud } from '../../serve/cloud/create.ts'
import { DirectEdge } from '../../serve/edge/direct.ts'
import type { Io } from '../io.ts'
import { printLine } from '../io.ts'
import { packageRoot } from '../../core/packageRoot.ts'
import { timingOf } from '../split/generationJson.ts'
import { openLinkSource } from './link/source.ts'

const MODEL = 'tales'
const LINK = 'lte-driving'
const PROMPT = 'Once there was '
/**
 * The whole model here; all of it in the cloud; half of its layers there, at two numbers of bits; half of the heads of
 * every layer there. Each with as many tokens as a quickstart has time for.
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
  /** Whether the tokens equal those of the whole model on the edge, over their common length. */
  same: z.boolean(),
  ttftSeconds: z.number().nullable(),
  tpotSeconds: z.number().nullable(),
})

/** What the built-in model said under one plan, and how long it took, in seconds. */
export type Spoken = z.infer<typeof spokenSchema>

const MAX_BYTES = 65_536

/** The results of an earlier start from `file`, or new ones, which are stored there. */
export async function speakOnce(file: string, io: Io): Promise<Spoken[]> {
  if (existsSync(file)) {
    const before = check(z.array(spokenSchema), parseJson(readText(file, MAX_BYTES), file), file)
    for (const spoken of before) tell(spoken, io)
    return before
  }
  // Real messages take real time, whatever clock the command uses.
  const spoken = await speak({ ...io, clock: systemClock })
  writeAtomic(file, `${JSON.stringify(spoken, null, 2)}\n`)
  return spoken
}

/** Runs the built-in model split between an edge and a cloud over the real wire and a replayed link. */
async function speak(io: Io): Promise<Spoken[]> {
  const { clock, env, signal } = io
  const side = { model: MODEL, memoryBytes: 1e9, clock, env }
  const cloud = await createCloud({ ...side, listen: ANY_PORT, limits: { maxBatch: 4 } })
  try {
    const path = join(packageRoot(), 'traces', 'links', `${LINK}.yaml`)
    const link = createLink(await openLinkSource(path, { seed: 1, modelSeconds: 600 }))
    const relay = await startRelay({ listen: ANY_PORT, to: cloud.address, link, clock })
    try {
      const edge = await DirectEdge.open({ ...side, plan: 'cloud', cloud: relay, maxInFlight: 1, signal })
      try {
        return await speakAll(edge, io)
      } finally {
        await edge.close()
      }
    } finally {
      await relay.close()
    }
  } finally {
    await cloud.close({ drainSeconds: 0 })
  }
}

async function speakAll(edge: DirectEdge, io: Io): Promise<Spoken[]> {
  const prompt = edge.pretrained.tokenizer!.encode(PROMPT)
  await edge.prepare({ promptTokens: prompt.length, maxNewTokens: PLANS[0].tokens, requests: PLANS.length })
  const spoken: Spoken[] = []
  for (const task of PLANS) spoken.push(await sayOnce(edge, prompt, task, spoken, io))
  return spoken
}

async function sayOnce(
  edge: DirectEdge,
  prompt: readonly number[],
  { plan, tokens }: (typeof PLANS)[number],
  before: readonly Spoken[],
  io: Io,
): Promise<Spoken> {
  const { tokenizer, stopIds } = edge.pretrained
  const request = { ...edge.readPlan(plan), prompt, maxNewTokens: tokens, sampling: GREEDY, stopIds }
  // The first run loads the sessions, the second is timed.
  const options = { explain: false, onToken: () => {} }
  await edge.generate({ ...request, maxNewTokens: 2 }, options)
  const generation = await edge.generate(request, options)
  const text = tokenizer!.decode(generation.tokens.map(({ id }) => id))
  const { ttftSeconds, tpotSeconds } = timingOf(generation)
  const same = before.length === 0 || before[0].text.startsWith(text)
  const spoken = { plan, text, same, ttftSeconds, tpotSeconds }
  tell(spoken, io)
  return spoken
}

/** Prints the first one's text, and a line for each. */
function tell({ plan, text, same, ttftSeconds, tpotSeconds }: Spoken, io: Io): void {
  if (plan === PLANS[0].plan) printLine(io, `${PROMPT}${text}\n`)
  const time = (seconds: number | null) => (seconds === null ? 'not measured' : formatSeconds(seconds))
  const tokens = same ? 'the same tokens' : 'other tokens'
  printLine(io, `${plan.padEnd(10)} TTFT ${time(ttftSeconds)}, TPOT ${time(tpotSeconds)}: ${tokens}`)
}
