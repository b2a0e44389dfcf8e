import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { sha256 } from '../../../src/core/files.ts'
import { randomStream } from '../../../src/core/random.ts'
import { calibrate, PREDICTIONS_FILE, RESULT_FILE } from '../../../src/lab/calibrate/calibrate.ts'
import { openRelays } from '../../../src/lab/calibrate/linkEmulation.ts'
import { openCloudHost } from '../../../src/lab/calibrate/cloudHost.ts'
import { openEdgeHost } from '../../../src/lab/calibrate/edgeHost.ts'
import { ByteAudit, measuredFigures } from '../../../src/lab/calibrate/measured.ts'
import { EXIT_THRESHOLD, gridPlans } from '../../../src/lab/calibrate/plans.ts'
import { profileSides } from '../../../src/lab/calibrate/messages.ts'
import { calibrationOf, resultSchema, type CalibrationResult } from '../../../src/lab/calibrate/result.ts'
import type { Cell, EdgeProcess } from '../../../src/lab/calibrate/types.ts'
import { cutPlan, EDGE } from '../../../src/plan/plan.ts'
import { helloPayload } from '../../../src/run/executor/hello.ts'
import { openExecution } from '../../../src/run/executor/open.ts'
import { randomSource } from '../../../src/plan/measure/source.ts'
import { openSubgraphStore } from '../../../src/model/graphs/subgraphStore.ts'
import { sharedFill } from '../../../src/model/graphs/weights.ts'
import type { AccuracyTable } from '../../../src/plan/profile/accuracy.ts'
import { checkProfile } from '../../../src/plan/profile/file.ts'
import type { Figure, Profile } from '../../../src/plan/profile/types.ts'
import { constantSeries } from '../../../src/trace/link.ts'
import { randomPair } from '../../plan/randomPair.ts'

const { model, edge: costs, ...pair } = randomPair(randomStream(3, 'calibrate'), { layers: 2, units: 2 })
const EXIT_LAYER = 1
const random = randomSource(model, sharedFill(randomStream(1, 'weights')))
const source = { ...random, exitLayers: [EXIT_LAYER], exitHead: () => random.head() }
/** Every second token is sure of itself, says the table; with random weights none is. */
const figure = (value: number): Figure => ({ value, provenance: { kind: 'measured', source: 'made up' } })
const accuracy: AccuracyTable = {
  ...pair.accuracy,
  exits: [
    {
      layer: EXIT_LAYER,
      threshold: EXIT_THRESHOLD,
      leaveShare: figure(0.5),
      standaloneLoss: figure(0),
      collaborativeLoss: figure(0),
    },
  ],
}
const clock = systemClock
const folder = mkdtempSync(join(tmpdir(), 'edgewise-calibrate-'))

/** Tells when the edge is first told to run a request. */
function watched(edge: EdgeProcess, note: (what: string) => void): EdgeProcess {
  return {
    connect: (...args) => edge.connect(...args),
    roundTrips: (...args) => edge.roundTrips(...args),
    profile: (task) => edge.profile(task),
    run: (task) => {
      note('run')
      return edge.run(task)
    },
    collect: () => edge.collect(),
    load: (plan) => edge.load(plan),
    close: () => edge.close(),
  }
}

it('the edge measures its profile at the precision that it runs', async () => {
  const greeting = helloPayload('test', { id: model.id, fingerprint: '0'.repeat(64) }, 'int4')
  const files = openSubgraphStore(mkdtempSync(join(folder, 'int4-')), source, 'int4')
  const edge = await openEdgeHost({
    source,
    greeting,
    clock,
    openExecution: () => openExecution({ model, files, clock, engine: 'native', threads: 1 }),
  })
  const profile = await edge.profile({ quick: true, messageSeconds: 1e-5 })
  await edge.close()
  expect(profile.precision).toBe('int4')
})

describe('a calibration over loopback, both sides in this process', () => {
  const order: string[] = []
  const files = new Map<string, string>()
  let said = ''
  let result: CalibrationResult
  let profile: Profile

  beforeAll(async () => {
    const graphs = openSubgraphStore(folder, source, 'fp32')
    const greeting = helloPayload('test', { id: model.id, fingerprint: '0'.repeat(64) }, 'fp32')
    const open = (maxBatch: number) =>
      openExecution({ model, files: graphs, clock, engine: 'native', threads: 1, maxBatch })
    const cloud = await openCloudHost({ model, execution: await open(8), greeting, clock, host: '127.0.0.1' })
    const edge = await openEdgeHost({
      source,
      greeting,
      clock,
      openExecution: () => open(1),
      engine: 'native',
    })
    const links = [{ id: 'fast', series: constantSeries(1e8, 1e8, 0.002), phaseSeconds: 1 }]
    const emulation = await openRelays(links, await cloud.address(), clock)
    try {
      profile = await profileSides({ edge, cloud, profile: costs.profile, quick: true, clock })
      result = await calibrate({
        model,
        accuracy,
        exitLayers: [EXIT_LAYER],
        links,
        cloud,
        emulation,
        tcpDynamics: false,
        profile,
        quick: true,
        repeats: 4,
        seed: 1,
        pinned: false,
        clock,
        edge: watched(edge, (what) => order.push(what)),
        prompt: (tokens, index) =>
          Array.from({ length: tokens }, (_, i) => (index + 7 * i) % model.vocabulary),
        write: (name, text) => {
          order.push(name)
          files.set(name, text)
        },
        onPredicted: (hash) => {
          said = hash
        },
      })
    } finally {
      await edge.close()
      await emulation.close()
      await cloud.close()
    }
  }, 240_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('writes and hashes what it predicts before anything runs, and what it found at the end', () => {
    expect(order[0]).toBe(PREDICTIONS_FILE)
    expect(order[1]).toBe('run')
    expect(order[order.length - 1]).toBe(RESULT_FILE)
    expect(sha256(files.get(PREDICTIONS_FILE)!)).toBe(said)
    expect(result.predictionsSha256).toBe(said)
  })

  it('gives a result that its schema reads back, with finite errors for every term that applies', () => {
    const read = resultSchema.parse(JSON.parse(files.get(RESULT_FILE)!))
    expect(read).toEqual(result)
    expect(new Set(read.terms.map(({ term }) => term)).size).toBe(8)
    for (const { medianError, p95Error, p95ErrorOfRuns, medianNoise } of read.terms)
      for (const value of [medianError, p95Error, p95ErrorOfRuns, medianNoise])
        expect(value).toBeLessThan(1e9)
    expect(read.cells.every(({ runs }) => runs.length === 4)).toBe(true)
  })

  it('carries the bytes that were predicted: plans over the cloud some, the edge alone none', () => {
    const bytes = (plan: string) => {
      const { upBytes, downBytes } = result.cells.find((cell) => cell.plan === plan)!
      return [upBytes, downBytes]
    }
    expect(bytes('edge')).toEqual([0, 0])
    // Prompt ids in one frame up, a frame of one id down for each of 12 tokens.
    expect(bytes('cloud')).toEqual([32 + 4 * 16, 12 * 36])
  })

  it('leaves a summary in the profile that profiles can hold', () => {
    const calibration = calibrationOf(result, 'result.json')
    const kept = checkProfile({ ...profile, calibration }, 'profile')
    expect(kept.calibration?.terms).toHaveLength(result.terms.length)
    expect(kept.wire?.messageSeconds.provenance.kind).toBe('measured')
  })

  it('foresees uploads of a collaborative exit to the byte, and answers by their measured share', () => {
    const cells = result.cells.filter(({ plan }) => plan === 'early exit, collaborative')
    expect(cells.map(({ load }) => load)).toEqual(['alone', 'poisson'])
    // Prompt, then one hidden state a further token; of 12 tokens the table has 6 asked, and all are.
    expect(cells[0].upBytes).toBe(12 * 32 + 4 * (16 + 11) * model.width)
    expect(cells[0].answers).toEqual({ predicted: 6, measured: 12 })
    expect(cells[1].answers).toEqual({ predicted: 24, measured: 48 })
    expect(result.cells.find(({ plan }) => plan === 'cloud')!.answers).toBeNull()
    expect(result.leftOut).toEqual([])
  })
})

describe('the plans of the grid', () => {
  it('are without early exits where the model has none, or nobody measured how often they are sure', () => {
    const without = gridPlans(model, accuracy, [])
    expect(without.leftOut.map(({ reason }) => reason)).toEqual(Array(2).fill('random has no exit heads'))
    const unmeasured = gridPlans(model, { ...accuracy, exits: [] }, [EXIT_LAYER])
    expect(unmeasured.leftOut.map(({ plan }) => plan)).toEqual(['early exit, collaborative'])
    expect(unmeasured.plans.map(({ id }) => id)).toContain('early exit, standalone')
  })
})

describe('a run in which a collaborative exit asked for nothing', () => {
  it('says nothing about what answers take, unlike one in which messages took no time', () => {
    const cell: Cell = {
      id: 'the cell',
      plan: 'exit',
      link: 'l',
      load: 'alone',
      arrivalSeconds: [0],
      promptTokens: 1,
      outputTokens: 2,
    }
    const request = { arrivalSeconds: 0, dispatchSeconds: 1, tokenSeconds: [2, 4], events: [] }
    const record = { requests: [request], bytes: { upData: 0, downData: 0, upControl: 0 } }
    expect(measuredFigures(cell, record, 0)).toMatchObject({ ttft: 1, tpot: 2, transferDown: null })
    expect(measuredFigures(cell, record, null)).toMatchObject({ ttft: 1, tpot: 2, transferDown: 0 })
  })
})

describe('bytes that are not as predicted', () => {
  const plan = { id: 'edge', placed: { plan: cutPlan(2, 2, 2, 32, EDGE, EDGE), cloudUnits: [[], []] } }
  const cell: Cell = {
    id: 'the cell',
    plan: 'edge',
    link: 'l',
    load: 'alone',
    arrivalSeconds: [0],
    promptTokens: 1,
    outputTokens: 1,
  }

  it('are an error that names the cell, the messages and both numbers', () => {
    const run = { requests: [], bytes: { upData: 40, downData: 0, upControl: 0 } }
    const prediction = { cell: cell.id, figures: done(), upBytes: 36, downBytes: 0 }
    expect(() => new ByteAudit(model).check(cell, plan, prediction, run)).toThrow(
      'the cell: messages up\n  predicted: 36 bytes\n  found: 40 bytes',
    )
  })

  const done = () => ({
    ttft: 0,
    tpot: null,
    endToEnd: 0,
    edgeCompute: 0,
    cloudCompute: 0,
    transferUp: 0,
    transferDown: 0,
    load: null,
  })
})
