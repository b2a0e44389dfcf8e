import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { decideJsonSchema } from '../../src/cli/json/bundle.ts'
import { generationJsonSchema, listeningJsonSchema } from '../../src/cli/json/split.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { connectToCloud } from '../../src/run/executor/connectToCloud.ts'
import { formatProfile, readProfile } from '../../src/plan/profile/file.ts'
import { recordIo } from './io.ts'

/** Its two profiles were measured at fp32. */
const BUNDLE = 'test/fixtures/serve/bundle'
const scratch = mkdtempSync(join(tmpdir(), 'edgewise-precision-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

function start(...argv: string[]) {
  const io = recordIo({ clock: systemClock, env: { XDG_CACHE_HOME: join(scratch, 'cache') } })
  return { io, code: runCli(argv, io, COMMANDS, '0.0.0') }
}

async function edgewise(...argv: string[]) {
  const { io, code } = start(...argv)
  return { code: await code, out: io.out(), err: io.err() }
}

async function openCloud(precision: string) {
  const { io, code } = start(
    'cloud',
    '--model',
    'tales',
    '--listen',
    '127.0.0.1:0',
    '--json',
    '--precision',
    precision,
  )
  let over = false
  void code.then(() => (over = true))
  while (!io.out().includes('\n') && !over) await sleep(10)
  const { listening } = listeningJsonSchema.parse(JSON.parse(io.out()))
  return { ...listening, close: () => (io.interrupt(), code) }
}

const ask = [
  'edge',
  '--model',
  'tales',
  '--prompt',
  'Once',
  '--max-new-tokens',
  '3',
  '--bundle',
  BUNDLE,
] as const

/** The bundle's profile, as if it had been measured at this precision. */
function profileFile(precision: 'int8' | 'int4'): string {
  const path = join(scratch, `${precision}.profile.json`)
  writeFileSync(path, formatProfile({ ...readProfile(`${BUNDLE}/edge.profile.json`), precision }))
  return path
}

describe('an edge whose bundle has figures of another precision', () => {
  it('refuses, naming both precisions and the ways out', async () => {
    const { code, out, err } = await edgewise(...ask, '--precision', 'int4')
    expect([code, out]).toEqual([2, ''])
    expect(err).toContain('figures of tales at int4, the precision that the edge runs')
    expect(err).toContain('measured: vm, fp32')
    expect(err).toContain('--precision fp32')
    expect(err).toContain('edgewise profile --model tales --precision int4')
    expect(err).toContain('--edge-profile or export a bundle with it')
  })

  it('serves nobody by a static plan instead', async () => {
    const serving = ['edge', '--model', 'tales', '--listen', '127.0.0.1:0', '--log', join(scratch, 'log')]
    const { code, err } = await edgewise(...serving, '--bundle', BUNDLE, '--precision', 'int8')
    expect(code).toBe(2)
    expect(err).toContain('figures of tales at int8')
  })

  it('decides on a profile of the right precision where one is given, and says so', async () => {
    const given = await edgewise(...ask, '--precision', 'int4', '--edge-profile', profileFile('int4'))
    expect(given.code, given.err).toBe(0)
    expect(given.err).toContain('figures of edge (measured: vm, int4) and cloud (measured: vm, fp32)')
    const wrong = await edgewise(...ask, '--precision', 'int4', '--edge-profile', profileFile('int8'))
    expect(wrong.code).toBe(2)
    expect(wrong.err).toContain('measured: vm, int8')
  })

  it('a profile without a bundle to be used in is refused', async () => {
    const argv = ['edge', '--model', 'tales', '--prompt', 'Once', '--plan', 'edge'] as const
    const { code, err } = await edgewise(...argv, '--edge-profile', profileFile('int4'))
    expect(code).toBe(2)
    expect(err).toContain('--edge-profile')
  })

  it('asks the same of the cloud, whose precision it hears when it connects', async () => {
    const cloud = await openCloud('int8')
    const address = `${cloud.host}:${cloud.port}`
    const refused = await edgewise(...ask, '--cloud', address)
    expect(refused.code).toBe(2)
    expect(refused.err).toContain('figures of tales at int8, the precision that the cloud runs')
    const given = await edgewise(...ask, '--cloud', address, '--cloud-profile', profileFile('int8'))
    expect(given.code, given.err).toBe(0)
    expect(given.err).toContain('and cloud (measured: vm, int8)')
    const json = await edgewise(...ask, '--cloud', address, '--cloud-profile', profileFile('int8'), '--json')
    const { precision, figures } = generationJsonSchema.parse(JSON.parse(json.out))
    expect(precision).toEqual({ edge: 'fp32', cloud: 'int8' })
    const measured = { id: 'vm', provenance: 'measured' }
    expect(figures).toEqual({
      edge: { ...measured, precision: 'fp32' },
      cloud: { ...measured, precision: 'int8' },
    })
    // An edge that serves connects after its policy was opened: a cloud of another precision is no cloud for it.
    const model = { id: 'tales', fingerprint: cloud.fingerprint }
    const own = { software: 'edgewise test', model, precision: 'fp32' } as const
    const connecting = connectToCloud({
      address: cloud,
      transport: {},
      greeting: own,
      precision: 'fp32',
      modelArgument: 'tales',
      clock: systemClock,
      signal: new AbortController().signal,
    })
    await expect(connecting).rejects.toThrow(/expected: fp32[\s\S]*found: int8[\s\S]*--cloud-profile/)
    await cloud.close()
  })
})

describe('what a plan was decided on', () => {
  const figures = 'figures of edge (measured: vm, fp32) and cloud (measured: vm, fp32)'

  it('is said by decide, in text and as JSON', async () => {
    const argv = [
      'decide',
      BUNDLE,
      '--up-mbps',
      '20',
      '--down-mbps',
      '50',
      '--rtt-ms',
      '30',
      '--prompt',
      '16',
      '--output',
      '16',
    ] as const
    expect((await edgewise(...argv)).out).toContain(figures)
    const side = { id: 'vm', provenance: 'measured', precision: 'fp32' }
    const { out } = await edgewise(...argv, '--json')
    expect(decideJsonSchema.parse(JSON.parse(out)).figures).toEqual({ edge: side, cloud: side })
  })

  it('is said by an edge that serves', async () => {
    const log = ['--log', join(scratch, 'served')]
    const { io, code } = start(
      'edge',
      '--model',
      'tales',
      '--listen',
      '127.0.0.1:0',
      '--bundle',
      BUNDLE,
      ...log,
    )
    await expect.poll(() => io.out(), { timeout: 20_000 }).toContain(`decided by serve-tales on ${figures};`)
    io.interrupt()
    await code
  })

  it('is nothing where the plan was named: what runs is said', async () => {
    const named = ['edge', '--model', 'tales', '--prompt', 'Once', '--max-new-tokens', '2', '--plan', 'edge']
    const { out } = await edgewise(...named, '--json', '--precision', 'int4')
    const found = generationJsonSchema.parse(JSON.parse(out))
    expect(found).toMatchObject({ precision: { edge: 'int4', cloud: null }, figures: null })
    const io = recordIo({
      clock: systemClock,
      env: { XDG_CACHE_HOME: join(scratch, 'cache') },
      isTerminal: true,
    })
    await runCli(named, io, COMMANDS, '0.0.0')
    expect(io.out()).toMatch(/near-ties, edge at fp32/)
  })
})

describe('edgewise calibrate', () => {
  it('refuses a profile of another precision than both sides run, naming both', async () => {
    const out = ['--out', join(scratch, 'calibrate')]
    const argv = [
      'calibrate',
      '--model',
      'tales',
      '--quick',
      '--profile',
      `${BUNDLE}/edge.profile.json`,
      ...out,
    ]
    const { code, err } = await edgewise(...argv, '--precision', 'int4')
    expect(code).toBe(2)
    expect(err).toContain('a profile at int4, the precision that both sides run')
    expect(err).toContain('measured: vm, fp32')
    expect(err).toContain('--precision fp32')
  })
})

describe('edgewise oracle', () => {
  const request = [
    '--up-mbps',
    '20',
    '--down-mbps',
    '50',
    '--rtt-ms',
    '30',
    '--prompt',
    '64',
    '--output',
    '16',
  ]

  it('says the precision of either side, in text and as JSON', async () => {
    const tales = ['oracle', '--model', 'tales', ...request, '--edge', profileFile('int4'), '--cloud', 'a100']
    expect((await edgewise(...tales)).out).toContain('tales on vm (measured, int4) and a100 (modelled, fp16)')
    const { state } = JSON.parse((await edgewise(...tales, '--json')).out)
    expect([state.edge.precision, state.cloud.precision]).toEqual(['int4', 'fp16'])
  })
})
