import { describe, expect, it } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { evalJsonSchema } from '../../../src/cli/json/eval.ts'
import { describeEvaluation } from '../../../src/cli/commands/evalTable.ts'
import { baselines, bestStaticCut } from '../../../src/learn/evaluate/baselines.ts'
import { evaluate } from '../../../src/learn/evaluate/evaluate.ts'
import { loadWarning } from '../../../src/learn/runs/warning.ts'
import { edgeOnly } from '../../../src/plan/planners/fixed.ts'
import { edgeBytes, formatMisfit } from '../../../src/plan/price/memory.ts'
import { loadScenario } from '../../../src/sim/scenario/scenario.ts'
import { inFolder, tinyScenario, writeConfig } from '../../sim/scenario/tiny.ts'

const PLAIN = { colour: false, isTerminal: false }
const SEEDS = [0, 1]

/** The tiny scenario on an edge of so much memory. */
const onEdge = (service: object, changes = {}) =>
  inFolder((folder) =>
    loadScenario(
      writeConfig(folder, 's.yaml', tinyScenario({ service: { maxInFlight: 2, ...service }, ...changes })),
    ),
  )

const roomy = await onEdge({})
const whole = edgeOnly(roomy.problem).edgePlan!
/** Whole model, and K/V of a prompt of one token with its answer of 32. */
const needBytes = edgeBytes(roomy.problem.pair, whole, 33)

describe('an edge that the whole model does not fit', async () => {
  const scenario = await onEdge({ edgeMemoryGb: (0.9 * needBytes) / 1e9 })
  const policies = [
    ...baselines(scenario, { prices: [0, 0, 0, 0], v: 1, thresholdSeconds: 4 }),
    await bestStaticCut(scenario, 'validation', SEEDS),
  ]
  const report = await evaluate({ scenario, policies, split: 'validation', seeds: SEEDS })

  it('gives no row to planners that would run it there', () => {
    expect(Object.keys(report.unfit)).toEqual(['edge-only', 'shortest-delay', 'threshold'])
    for (const misfit of Object.values(report.unfit)) {
      expect(misfit.needBytes).toBe(needBytes)
      expect(misfit.memoryBytes).toBeCloseTo(0.9 * needBytes, 3)
    }
    expect(Object.keys(report.policies)).toEqual([
      ...['cloud-only', 'random', 'ce-collm-standalone', 'ce-collm', 'per-state-dp'],
      ...['drift-plus-penalty', 'priced', 'best-static-cut'],
    ])
  })

  it('says so, says what the load is relative to, and counts each planner once', async () => {
    const learned = { ...policies.find(({ name }) => name === 'priced')!, name: 'mine' }
    const copy = { ...policies.find(({ name }) => name === 'cloud-only')!, name: 'copy' }
    const rows = [...policies, copy, learned]
    const json = evalJsonSchema.parse({
      ...(await evaluate({ scenario, policies: rows, split: 'validation', seeds: SEEDS })),
      scenario: 's',
      scenarioHash: 'h',
      links: 'validation',
      load: 0.6,
      loadMisfit: scenario.edgeMisfit,
      tuned: { prices: [0, 0, 0, 0], v: 1, thresholdSeconds: 4 },
      absent: {},
      objective: scenario.problem.objective,
    })
    const text = describeEvaluation(json, ['mine'], PLAIN)
    const misfit = formatMisfit(scenario.edgeMisfit!)
    expect(text).toContain(`edge-only, shortest-delay, threshold: ${misfit}\n`)
    expect(text).toContain(`${misfit}: load 0.6 is relative to an edge of this speed with memory for it`)
    expect(text).toMatch(/copy.*: served every request as cloud-only did: counted once/)
    const distinct = Object.entries(json.policies).filter(
      ([name, row]) => name !== 'mine' && row.sameAs === null,
    )
    expect(text).toContain(`of ${distinct.length} planners`)
    expect(text).not.toContain('threshold 4 s')
    expect(loadWarning(scenario)).toContain(misfit)
    expect(loadWarning(roomy)).toBeNull()
  })

  it('refuses an evaluation of nothing else', async () => {
    const attempt = evaluate({ scenario, policies: [policies[0]], split: 'validation', seeds: SEEDS })
    await expect(attempt).rejects.toThrow(InputError)
    await expect(attempt).rejects.toThrow(/edge-only[^]*does not fit \(/)
  })
})

describe('an edge that it fits for some requests', async () => {
  // Two lots of K/V beside the weights do not fit, one does.
  const scenario = await onEdge({ edgeMemoryGb: (1.01 * edgeBytes(roomy.problem.pair, whole, 72)) / 1e9 })

  it('has a row that says how many went to the cloud', async () => {
    const policies = [
      edgeOnly(scenario.problem),
      ...baselines(scenario, { prices: [0, 0, 0, 0], v: 1, thresholdSeconds: 0 }).slice(1, 2),
    ]
    const { policies: rows, unfit } = await evaluate({
      scenario,
      policies,
      split: 'validation',
      seeds: [0, 1, 2, 3],
    })
    expect(unfit).toEqual({})
    expect(rows['cloud-only'].misfitShare).toBeNull()
    expect(rows['edge-only'].misfitShare).toBeGreaterThan(0)
    expect(rows['edge-only'].misfitShare).toBeLessThan(1)
  })
})

describe('the words of a misfit', () => {
  it.each([
    [14.02e9, 12e9, 'does not fit (14.0 > 12.0 GB)'],
    [12.004e9, 12e9, 'does not fit (12.004 > 12.000 GB)'],
  ])('%d bytes in %d', (need, memoryBytes, words) => {
    expect(formatMisfit({ needBytes: need, memoryBytes })).toBe(words)
  })
})
