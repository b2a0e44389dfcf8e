import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decideJsonSchema, exportJsonSchema, verifyJsonSchema } from '../../src/cli/json/bundle.ts'
import { evalJsonSchema } from '../../src/cli/json/eval.ts'
import { trainJsonSchema } from '../../src/cli/json/runs.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { recordIo } from './io.ts'
import { writeSmallTraining } from './smallTraining.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-runs-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))
const at = (...names: string[]): string => join(scratch, ...names)

async function edgewise(...argv: string[]) {
  const io = recordIo()
  const code = await runCli(argv, io, COMMANDS, '0.0.0')
  return { code, out: io.out(), err: io.err(), json: () => JSON.parse(io.out()) }
}

const train = (out: string, ...more: string[]) =>
  edgewise('train', at('small.train.yaml'), '--out', at(out), ...more, '--json')

beforeAll(async () => {
  writeSmallTraining(scratch)
  const { code, err } = await train('whole')
  expect(code, err).toBe(0)
})

describe('edgewise train', () => {
  it('says what it did, and two trainings with one seed are the same bytes', async () => {
    const { code, json } = await train('again')
    expect(code).toBe(0)
    const found = trainJsonSchema.parse(json())
    expect(found).toMatchObject({
      updates: 4,
      totalUpdates: 4,
      decisions: 4 * 16 * 2,
      finished: true,
      seed: 1,
    })
    for (const file of ['metrics.jsonl', 'checkpoint.bin', 'best.policy'])
      expect(readFileSync(at('again', file)).equals(readFileSync(at('whole', file))), file).toBe(true)
  })

  it('ends after the update under way on Ctrl-C, exits 130, and continues as if never stopped', async () => {
    const io = recordIo({ isProgressTerminal: false })
    // The tracker is asked for the time once an update: interrupt during the second one.
    let asked = 0
    const clock = {
      nowSeconds: () => {
        if (
          existsSync(at('stopped', 'metrics.jsonl')) &&
          readFileSync(at('stopped', 'metrics.jsonl'), 'utf8') !== ''
        )
          io.interrupt()
        return asked++
      },
      wallTime: () => '2026-01-01T00:00:00.000Z',
    }
    const stoppable = { ...io, clock }
    const argv = ['train', at('small.train.yaml'), '--out', at('stopped')]
    expect(await runCli(argv, stoppable, COMMANDS, '0')).toBe(130)
    expect(io.err()).toContain(`edgewise train --resume ${at('stopped')}`)
    const before = readFileSync(at('stopped', 'metrics.jsonl'), 'utf8').trim().split('\n').length
    expect(before).toBeLessThan(4)
    const resumed = await edgewise('train', '--resume', at('stopped'), '--json')
    expect(resumed.code, resumed.err).toBe(0)
    expect(trainJsonSchema.parse(resumed.json())).toMatchObject({ updates: 4, finished: true })
    for (const file of ['metrics.jsonl', 'checkpoint.bin'])
      expect(readFileSync(at('stopped', file)).equals(readFileSync(at('whole', file))), file).toBe(true)
  })

  it.each([
    [['train'], 'config'],
    [['train', 'absent.yaml'], 'absent.yaml'],
    [['train', '--resume', 'nowhere'], 'nowhere'],
    [['train', '--resume', 'nowhere', '--seed', '2'], '--resume'],
    [['train', 'absent.yaml', '--updates', '0'], '--updates'],
  ])('refuses %j', async (argv, place) => {
    const { code, err } = await edgewise(...argv)
    expect(code).toBe(2)
    expect(err).toContain(place)
  })

  it('does not write into a run that is there', async () => {
    expect((await train('whole')).code).toBe(2)
  })
})

describe('edgewise eval', () => {
  const small = ['--seeds', '3', '--tuning-episodes', '1', '--tuning-candidates', '4', '--runs', at('runs')]

  it("takes another load, workload and links of the user's own beside a run", async () => {
    const link = join(import.meta.dirname, '..', '..', 'traces', 'links', 'wifi-cafe.yaml')
    const argv = ['--links', link, '--workload', 'poisson', '--load', '0.2', '--requests', '4', ...small]
    const { code, err, json } = await edgewise('eval', at('whole'), 'cloud-only', ...argv, '--json')
    expect(code, err).toBe(0)
    const found = evalJsonSchema.parse(json())
    expect(found).toMatchObject({ links: 'given', load: 0.2, decisions: 12 })
    expect(found.policies['cloud-only'].provenance.links).toContain('wifi-cafe')
    expect(existsSync(join(at('runs'), 'final-evaluations.jsonl'))).toBe(false)
  })

  it.each([
    [['--workload', 'bursts'], '--workload'],
    [['--links', 'absent.yaml'], 'absent.yaml'],
    [['--links', 'absent.parquet'], 'absent.parquet'],
    [['--links', 'wifi.yaml', '--final'], '--final'],
  ])('refuses %j', async (argv, place) => {
    const { code, err } = await edgewise('eval', at('whole'), 'cloud-only', ...argv, ...small)
    expect(code).toBe(2)
    expect(err).toContain(place)
  })

  it('puts a run beside every planner; nothing is below the bound', async () => {
    const { code, err, json } = await edgewise('eval', at('whole'), 'all', ...small, '--json')
    expect(code, err).toBe(0)
    const found = evalJsonSchema.parse(json())
    expect(Object.keys(found.policies).sort()).toEqual([
      'best-static-cut',
      'ce-collm',
      'ce-collm-standalone',
      'cloud-only',
      'drift-plus-penalty',
      'edge-only',
      'per-state-dp',
      'priced',
      'random',
      'shortest-delay',
      'threshold',
      'whole',
    ])
    expect(found).toMatchObject({ seeds: 3, decisions: 24, links: 'validation', scenario: 'small' })
    for (const [name, row] of Object.entries(found.policies))
      expect(row.cost.mean, name).toBeGreaterThanOrEqual(found.lowerBound)
    const { policies } = found
    expect(policies['best-static-cut'].cost.mean).toBeLessThanOrEqual(
      Math.min(policies['edge-only'].cost.mean, policies['cloud-only'].cost.mean) * (1 + 1e-9),
    )
    expect(found.headroom).not.toBeNull()
    expect(existsSync(at('runs', 'final-evaluations.jsonl'))).toBe(false)
  })

  it('keeps the tuned prices, and refuses kept ones that are damaged', async () => {
    const scenario = ['--scenario', at('small.scenario.yaml')]
    const cache = [
      '--seeds',
      '2',
      '--tuning-episodes',
      '1',
      '--tuning-candidates',
      '4',
      '--runs',
      at('cache'),
    ]
    const first = await edgewise('eval', 'priced', ...scenario, ...cache, '--json')
    const [file] = readdirSync(at('cache', '.tuned'))
    const before = readFileSync(at('cache', '.tuned', file), 'utf8')
    expect((await edgewise('eval', 'priced', ...scenario, ...cache, '--json')).json()).toEqual(first.json())
    // Kept prices are used, not tuned again: others give another row.
    const prices = { ...JSON.parse(before), prices: [1e6, 0, 0, 0] }
    writeFileSync(at('cache', '.tuned', file), JSON.stringify(prices))
    const other = await edgewise('eval', 'priced', ...scenario, ...cache, '--json')
    expect(evalJsonSchema.parse(other.json()).tuned?.prices).toEqual([1e6, 0, 0, 0])
    writeFileSync(at('cache', '.tuned', file), before.replace('"prices"', '"prises"'))
    const damaged = await edgewise('eval', 'priced', ...scenario, ...cache)
    expect(damaged.code).toBe(2)
    expect(damaged.err).toContain(file)
  })

  it('looks at test links only with --final, and logs each look', async () => {
    const argv = [
      'eval',
      'edge-only',
      '--scenario',
      at('small.scenario.yaml'),
      '--seeds',
      '2',
      '--runs',
      at('final'),
    ]
    const refused = await edgewise(...argv, '--links', 'test')
    expect(refused.code).toBe(2)
    expect(refused.err).toContain('--final')
    expect((await edgewise(...argv, '--links', 'train', '--final')).code).toBe(2)
    expect(existsSync(at('final'))).toBe(false)
    for (let look = 1; look <= 2; look++) {
      const { json } = await edgewise(...argv, '--final', '--json')
      const found = evalJsonSchema.parse(json())
      expect(found).toMatchObject({ links: 'test', tuned: null, headroom: null })
      const lines = readFileSync(at('final', 'final-evaluations.jsonl'), 'utf8').trim().split('\n')
      expect(lines).toHaveLength(look)
      expect(JSON.parse(lines[look - 1])).toMatchObject({
        scenarioHash: found.scenarioHash,
        'cost.edge-only': found.policies['edge-only'].cost.mean,
      })
    }
  })

  it('hears Ctrl-C between episodes', async () => {
    const io = recordIo()
    // A key is only heard where the event loop turns.
    setTimeout(() => io.interrupt(), 0)
    const argv = ['eval', 'per-state-dp', '--scenario', at('small.scenario.yaml'), '--seeds', '5000']
    expect(await runCli(argv, io, COMMANDS, '0')).toBe(130)
    expect(io.out()).toBe('')
  })

  it('prints the weights, the bound, where the run stands, the absent and the provenance', async () => {
    const { out } = await edgewise('eval', at('whole'), 'priced', 'edge-only', ...small)
    for (const part of [
      'cost = 1 x latency',
      'lower bound',
      'against the tuned priced planner, whole costs',
      'simulated, on an edge that is modelled: raspberry-pi-5',
      'Not built yet',
      'clairvoyant',
    ])
      expect(out).toContain(part)
  })

  it.each([
    [['eval'], 'names'],
    [['eval', 'nope'], 'nope'],
    [['eval', 'edge-only'], '--scenario'],
    [['eval', 'edge-only', '--scenario', 'absent.yaml'], 'absent.yaml'],
    [['eval', 'edge-only', '--links', 'moon'], '--links'],
    [['eval', 'edge-only', '--seeds', '0'], '--seeds'],
  ])('refuses %j', async (argv, place) => {
    const { code, err } = await edgewise(...argv)
    expect(code).toBe(2)
    expect(err).toContain(place)
  })
})

describe('edgewise export, verify and decide', () => {
  beforeAll(async () => {
    const { code, err, json } = await edgewise('export', at('whole'), '--out', at('bundle'), '--json')
    expect(code, err).toBe(0)
    const found = exportJsonSchema.parse(json())
    expect(found.parity.greedyDisagreements).toBe(0)
    expect(found).toMatchObject({ scenario: 'small', evaluated: false })
  })

  it('verify what was exported', async () => {
    const { code, json } = await edgewise('verify', at('bundle'), '--json')
    expect(code).toBe(0)
    const found = verifyJsonSchema.parse(json())
    expect(found).toMatchObject({ ok: true, greedyDisagreements: 0 })
    expect(found.observations).toBeGreaterThan(1000)
  })

  it('decide alike by kernel and by policy.onnx', async () => {
    const argv = ['decide', at('bundle'), '--up-mbps', '5', '--down-mbps', '20', '--rtt-ms', '30']
    const lengths = ['--prompt', '40', '--output', '12', '--waiting', '3', '--edge-backlog-seconds', '2']
    const kernel = await edgewise(...argv, ...lengths, '--json')
    expect(kernel.code, kernel.err).toBe(0)
    const found = decideJsonSchema.parse(kernel.json())
    expect(found.conditions).toMatchObject({ upMbps: 5, waitingRequests: 3, edgeBacklogSeconds: 2 })
    const session = await edgewise(...argv, ...lengths, '--engine', 'session', '--json')
    expect(decideJsonSchema.parse(session.json()).plan).toEqual(found.plan)
    expect((await edgewise(...argv, ...lengths)).out).toContain('heads')
  })

  it('evaluate a bundle as the run it came from', async () => {
    const scenario = ['--scenario', at('small.scenario.yaml'), '--seeds', '2', '--json']
    const bundle = (await edgewise('eval', at('bundle'), ...scenario)).json()
    const run = (await edgewise('eval', at('whole'), '--seeds', '2', '--json')).json()
    expect(bundle.policies.bundle).toEqual(run.policies.whole)
  })

  it('refuse a bundle with one changed byte by name', async () => {
    const path = at('bundle', 'cloud.profile.json')
    const bytes = readFileSync(path)
    const changed = Buffer.from(bytes)
    changed[100] ^= 1
    writeFileSync(path, changed)
    for (const argv of [
      ['verify', at('bundle')],
      ['decide', at('bundle'), '--up-mbps', '5', '--down-mbps', '20', '--rtt-ms', '30'],
    ]) {
      const { code, err } = await edgewise(...argv)
      expect(code).toBe(3)
      expect(err).toContain('cloud.profile.json')
    }
    writeFileSync(path, bytes)
  })

  it.each([
    [['export', 'nowhere'], 'nowhere'],
    [['export', at('whole'), '--out', at('bundle')], 'bundle'],
    [['verify', 'nowhere'], 'nowhere'],
    [['decide', 'nowhere', '--up-mbps', '5', '--down-mbps', '20', '--rtt-ms', '30'], 'nowhere'],
    [['decide', at('bundle'), '--down-mbps', '20', '--rtt-ms', '30'], '--up-mbps'],
    [
      ['decide', at('bundle'), '--up-mbps', '5', '--down-mbps', '20', '--rtt-ms', '30', '--output', '9999'],
      'outputTokens',
    ],
  ])('refuse %j', async (argv, place) => {
    const { code, err } = await edgewise(...argv)
    expect(code).toBe(2)
    expect(err).toContain(place)
  })
})

describe('edgewise quickstart', () => {
  it('walks all six steps, and a second start does none of them again', async () => {
    const argv = [
      'quickstart',
      '--edge',
      'raspberry-pi-5',
      '--out',
      at('quick'),
      '--export-to',
      at('quick-bundle'),
      '--updates',
      '1',
      '--seeds',
      '1',
      '--tuning-episodes',
      '1',
      '--tuning-candidates',
      '1',
    ]
    const first = await edgewise(...argv, '--json')
    expect(first.code, first.err).toBe(0)
    const found = first.json()
    const evaluation = evalJsonSchema.parse(found.evaluation)
    expect(Object.keys(evaluation.policies)).toHaveLength(12)
    expect(evaluation.links).toBe('test')
    expect(verifyJsonSchema.parse(found.verify).ok).toBe(true)
    expect(Object.keys(found.decisions)).toEqual(['good link', 'poor link', 'outage'])
    expect(readFileSync(found.svg, 'utf8')).toContain('<svg')
    expect(readFileSync(found.png).subarray(1, 4).toString()).toBe('PNG')
    const exact = found.spoken.filter(({ plan }: { plan: string }) => plan !== 'cut:4@8')
    expect(exact.map(({ same }: { same: boolean }) => same)).toEqual([true, true, true, true])
    const metrics = readFileSync(at('quick', 'ppo', 'metrics.jsonl'))
    const again = await edgewise(...argv)
    expect(again.code, again.err).toBe(0)
    for (const part of [
      '[1/6]',
      '[6/6]',
      'the same tokens',
      'against the tuned priced planner, ppo costs',
      'simulated',
    ])
      expect(again.out).toContain(part)
    expect(readFileSync(at('quick', 'ppo', 'metrics.jsonl')).equals(metrics)).toBe(true)
    expect(JSON.parse(readFileSync(at('quick', 'evaluation.json'), 'utf8'))).toEqual(found.evaluation)
    // One look at the test links, not two.
    expect(readFileSync(at('final-evaluations.jsonl'), 'utf8').trim().split('\n')).toHaveLength(1)
  }, 120_000)

  it('does not remove a folder of other things', async () => {
    writeFileSync(at('small.scenario.yaml.bak'), 'x')
    const { code } = await edgewise('quickstart', '--force', '--out', scratch)
    expect(code).toBe(2)
    expect(existsSync(at('small.scenario.yaml'))).toBe(true)
  })
})
