import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { systemTimers } from '../../../src/core/timers.ts'
import { EdgeExecutor } from '../../../src/run/executor/edge.ts'
import { FixedLink } from '../../../src/run/executor/link.ts'
import { resolvedPlanFromJson } from '../../../src/run/executor/messages.ts'
import type { PlanSwitch } from '../../../src/run/executor/recoveryTypes.ts'
import { GREEDY } from '../../../src/run/executor/types.ts'
import { openDecisionLog, readDecisionLog } from '../../../src/core/journal/decisions.ts'
import type { DecisionRecord, HeaderRecord, LogRecord } from '../../../src/core/journal/types.ts'
import { OBSERVATION_NAMES, OBSERVATION_VERSION } from '../../../src/policy/observation/observation.ts'
import { CLOUD, cutPlan, EDGE, needsCloud } from '../../../src/plan/plan.ts'
import { startRelay, type Relay } from '../../../src/trace/replay/relay.ts'
import { PlanController, openBundle } from '../../../src/policy/controller/edge.ts'
import { resolvePlan } from '../../../src/serve/edge/resolvePlan.ts'
import { policySelector } from '../../../src/serve/edge/policySelector.ts'
import { composeLink } from '../../../src/trace/compose.ts'
import { importTraceFile } from '../../../src/trace/import/detect.ts'
import { createLink } from '../../../src/trace/link.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { attentionUnits } from '../../../src/model/spec.ts'
import { describeShared, sharedPath } from '../../shared.ts'
import { openStack, openTales, spec, tales, TalesCloud, type Stack } from './stack.ts'

const root = join(import.meta.dirname, '../../..')
/** A campus Wi-Fi uplink in Beijing, Mbit/s a second: the G. Lv et al. "Solis" traces, MIT. */
const recording = 'traces/solis-wifi-beijing/wifi_campus_231115-194559.txt'

/** There the recording goes 44 54 77 108, then 0 0 1 9 7 11 9, then 49 60 67, 3 0 3, and from second 61 on 26 to 123. */
const START_SECONDS = 44
const GOOD_AGAIN_SECONDS = 62
const OUTAGE_SECONDS = 1
const MEMORY_BYTES = 3_200_000
const clock = systemClock

/** The prompt's boundary tensors in 32 bits take 60 ms at 10 Mbit/s. */
const LONG = { prompt: 'Once there was a little fox who lived by the river. '.repeat(4), most: 110 }
/** And one that is under way while the cloud goes and comes back. */
const SHORT = { prompt: 'Once there was', most: 240 }
/** Each request has a limit of its own: by it the log's requests are known. */
type Wish = typeof LONG

const everyUnit = Array.from({ length: spec.layers }, () => [...Array(attentionUnits(spec)).keys()])

async function recordedLink() {
  const source = { name: 'campus', origin: 'https://github.com/GreenLv/Solis-WiFi-Trace', licence: 'MIT' }
  const trace = importTraceFile(
    sharedPath(recording),
    { ...source, direction: 'up' },
    {
      format: 'pensieve',
      stamp: 'start',
    },
  )
  const parts = {
    uplink: { kind: 'recording', trace },
    downlink: { kind: 'ratio', value: 2 },
    rtt: { kind: 'constant', value: 0.02 },
  } as const
  return createLink(composeLink(parts, { binSeconds: 1 }, randomStream(1, 'window')))
}

/** The policy of the bundle beside this file, in charge. */
async function openDecider() {
  const bundle = await openBundle(join(root, 'test/fixtures/serve/bundle'))
  const { unitsByLayer } = bundle.problem.pair.accuracy.ranking
  const fallback = cutPlan(spec.layers, attentionUnits(spec), 1, 32, EDGE, CLOUD)
  const hysteresis = { stableSeconds: 0.2, intervalSeconds: 0.2 }
  return policySelector({
    name: bundle.manifest.name,
    worksOffline: true,
    leastPlans: [fallback],
    outageSeconds: OUTAGE_SECONDS,
    controller: new PlanController({ bundle, fallback, offlinePlan: null, clock, hysteresis }),
    problem: bundle.problem,
    resolve: (plan) => resolvePlan(plan, unitsByLayer),
  })
}

interface Asked {
  readonly ids: readonly number[]
  readonly most: number
  text: string
}

/** What happens at the n-th piece of a stream. */
type Happenings = Readonly<Record<number, () => Promise<void>>>

describeShared(
  'a chat over a recorded link that falls from 100 to 10 Mbit/s, the cloud killed twice',
  [recording],
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'edgewise-demonstration-'))
    const asked: Asked[] = []
    let relay: Relay
    let stack: Stack
    let isStanding = false
    let records: LogRecord[] = []
    let decisions: DecisionRecord[] = []

    beforeAll(async () => {
      const link = await recordedLink()
      const decider = await openDecider()
      const log = await openDecisionLog(folder, header(), { clock, timers: systemTimers })
      stack = await openStack({
        log,
        memoryBytes: MEMORY_BYTES,
        limits: { outageSeconds: OUTAGE_SECONDS, maxInFlight: 2 },
        alone: resolvePlan(cutPlan(spec.layers, attentionUnits(spec), 1, 32, EDGE, CLOUD), everyUnit),
        decider: () => decider,
        hold: () => standStill(),
        port: async (cloud) => {
          const [listen, to] = [0, cloud].map((port) => ({ host: '127.0.0.1', port }))
          relay = await startRelay({ listen, to, link, clock, startSeconds: START_SECONDS })
          return relay.port
        },
      })
      await play()
      await log.close()
      records = [...readDecisionLog(folder)]
      decisions = records.filter((record) => record.kind === 'decision')
    }, 120_000)

    afterAll(async () => {
      await stack.close()
      await relay.close()
      rmSync(folder, { recursive: true, force: true })
    })

    async function ask({ prompt, most }: Wish, at: Happenings = {}): Promise<void> {
      const messages = [{ role: 'user' as const, content: prompt }]
      const ids = tales.tokenizer!.encode(tales.chat.render(messages), tales.chat.hasSpecialTokens)
      const one: Asked = { ids, most: most - asked.length, text: '' }
      asked.push(one)
      const stream = await stack.client.chat.completions.create({
        model: spec.id,
        messages,
        max_completion_tokens: one.most,
        temperature: 0,
        stream: true,
      })
      let count = 0
      for await (const { choices } of stream) {
        one.text += choices[0]?.delta.content ?? ''
        await at[++count]?.()
      }
    }

    const count = (reason: string): number =>
      stack.events.filter((event) => event.kind === 'decision' && event.reason === reason).length
    const seen = (reason: string): boolean => count(reason) > 0

    /**
     * So that a request is still under way when the cloud has gone and come back, however long that takes: the edge
     * computes nothing until another plan is asked for.
     */
    async function standStill(): Promise<void> {
      const { running } = stack.opened.service.runner
      const isChanging = (): boolean => [...running.values()].some((job) => job.pendingChange !== null)
      await until(() => !isStanding || isChanging())
    }

    /** All that happens: asked again and again while the link falls and rises, with two kills of the cloud. */
    async function play(): Promise<void> {
      const { cloud, opened } = stack
      await until(() => stack.events.some(({ kind }) => kind === 'link-probed'))
      await ask(LONG, {
        20: async () => {
          await cloud.stop()
          await cloud.start()
        },
      })
      while (relay.stats().linkSeconds < GOOD_AGAIN_SECONDS) {
        await ask(LONG)
        await pause(0.4)
      }
      const outages = count('outage')
      await Promise.all([
        ask(SHORT, {
          20: async () => {
            isStanding = true
            await cloud.stop()
            void until(() => count('outage') > outages).then(() => cloud.start())
            void until(() => seen('return')).then(() => (isStanding = false))
          },
        }),
        ask(SHORT),
      ])
      await until(() => opened.link!.state === 'up')
      for (let further = 0; further < 4; further++) await ask(LONG)
    }

    test('every answer has the tokens of its logged schedule without a fault', async () => {
      const edge = await openTales()
      const far = await openTales()
      const cloud = new TalesCloud(far)
      await cloud.start()
      const connection = await connect({ host: '127.0.0.1', port: cloud.port, greeting: {}, clock })
      const executor = new EdgeExecutor({
        model: spec,
        runner: edge.runner,
        clock,
        maxInFlight: 1,
        link: new FixedLink(connection),
      })
      for (const { ids, most, text } of asked) {
        const arrival = records.find((record) => record.kind === 'arrival' && record.maxNewTokens === most)
        const request = arrival?.kind === 'arrival' ? arrival.request : -1
        const schedule = decisions.filter((record) => record.request === request).map(toSwitch)
        const asking = { prompt: ids, maxNewTokens: most, sampling: GREEDY, stopIds: tales.stopIds }
        const { tokens } = await executor.generate({ ...asking, ...schedule[0] }, { planSwitches: schedule })
        const said = tokens.map(({ id }) => id).filter((id) => !tales.stopIds.includes(id))
        expect(text, `request ${request}`).toBe(tales.tokenizer!.decode(said))
        expect(text.length).toBeGreaterThan(10)
      }
      await connection.close()
      await cloud.stop()
      await Promise.all([edge.close(), far.close()])
    }, 60_000)

    test('the plan follows the rate of the link', () => {
      const at = (name: string): number =>
        OBSERVATION_NAMES.indexOf(name as (typeof OBSERVATION_NAMES)[number])
      const networked = decisions
        .filter(({ reason, source }) => reason === 'dispatch' && source === 'policy')
        .map((record) => ({ ...toSwitch(record), mbps: Math.exp(record.observation![at('logUpMbpsShort')]) }))
        .filter(({ plan }) => needsCloud(plan))
      const ratesWith = (bits: number): number[] =>
        networked.filter(({ plan }) => plan.boundaryBits === bits).map(({ mbps }) => mbps)
      expect(Math.min(...ratesWith(4))).toBeLessThan(20)
      expect(ratesWith(32).length).toBeGreaterThan(0)
      expect(Math.min(...ratesWith(32))).toBeGreaterThan(20)
    })

    test('the cloud that was away for long is done without, and returned to', () => {
      const reasons = new Set(decisions.map(({ reason }) => reason))
      expect(reasons).toContain('outage')
      expect(reasons).toContain('return')
      // Decided once the link had been gone for so long, and written down as of then.
      const lost = records
        .filter((record) => record.kind === 'event')
        .filter(({ name }) => name === 'link-down')
      for (const { atSeconds } of decisions.filter(({ reason }) => reason === 'outage')) {
        expect(lost.some((down) => atSeconds - down.atSeconds >= OUTAGE_SECONDS)).toBe(true)
      }
      const kinds = new Set(stack.events.map(({ kind }) => kind))
      expect(kinds).toContain('link-down')
      expect(kinds).toContain('request-resumed')
    })

    test('the log has every decision and every end', () => {
      const told = stack.events.filter(({ kind }) => kind === 'decision')
      expect(decisions).toHaveLength(told.length)
      const ends = records.filter((record) => record.kind === 'outcome')
      expect(ends).toHaveLength(asked.length)
      expect(ends.every(({ end }) => end === 'stop' || end === 'length')).toBe(true)
    })

    test('nothing is left of it on either side', async () => {
      const { cloud, opened } = stack
      expect(opened.executor.retransmitBytes).toBe(0)
      expect(opened.service.queue).toEqual({ waiting: 0, inFlight: 0 })
      await expect.poll(() => cloud.peers.reduce((sum, { active }) => sum + active, 0)).toBe(0)
    })
  },
)

function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => systemTimers.after(seconds, resolve))
}

/** For what will be; the test's own limit ends the waiting for what will not. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await pause(0.02)
}

function header(): HeaderRecord {
  return {
    kind: 'header',
    version: 1,
    software: 'test',
    observationVersion: OBSERVATION_VERSION,
    model: { id: spec.id, fingerprint: tales.fingerprint },
    bundle: null,
    startedAt: clock.wallTime(),
  }
}

function toSwitch({ plan, fromToken, rebuild }: DecisionRecord): PlanSwitch {
  const placed = resolvedPlanFromJson(spec, plan, 'decision log')
  return { ...placed, fromToken, rebuild: rebuild ?? 'start' }
}
