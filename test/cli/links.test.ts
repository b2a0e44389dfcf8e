import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { recordIo } from './io.ts'
import { writeSmallTraining } from './smallTraining.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-cli-links-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string) => join(folder, name)
const scenario = at('small.scenario.yaml')
writeSmallTraining(folder)

/** A packet every 10 ms: 1.2 Mbit/s for `seconds`. */
const packets = (seconds: number) => Array.from({ length: 100 * seconds }, (_, i) => 10 * (i + 1)).join('\n')
writeFileSync(at('drive.up'), packets(8))
writeFileSync(at('walk.down'), packets(9))

async function edgewise(...argv: string[]) {
  const io = recordIo()
  const code = await runCli(argv, io, COMMANDS, '0.0.0')
  return { code, out: io.out(), err: io.err() }
}

const small = ['--scenario', scenario, '--seeds', '1', '--requests', '3']
const pair = `${at('drive.up')}+${at('walk.down')}`

describe('a link, wherever a command asks for one', () => {
  it('trace import makes one trace of two recordings and a constant; every command takes it', async () => {
    const source = ['--origin', 'own', '--licence', 'own', '--out', at('pair.parquet')]
    const made = await edgewise(
      'trace',
      'import',
      at('drive.up'),
      at('walk.down'),
      '--rtt-ms',
      '40',
      ...source,
    )
    expect(made.err).toBe('')
    expect(made.out).toMatch(/uplink +mean 1\.2[^]*downlink +mean 1\.2[^]*round trip +p5\/p50\/p95 40\.0 ms/)
    expect(made.out).toMatch(/note +paired: not recorded together/)
    const shown = await edgewise('trace', 'show', at('pair.parquet'), '--json')
    expect(JSON.parse(shown.out)).toMatchObject({ seconds: 9, meta: { name: 'drive.up + walk.down' } })
    const evaluated = await edgewise('eval', 'edge-only', ...small, '--links', at('pair.parquet'), '--json')
    expect(evaluated.err).toBe('')
    expect(JSON.parse(evaluated.out)).toMatchObject({ links: 'given' })
    // A scenario names it as it names a synthetic link.
    const own = JSON.parse(readFileSync(scenario, 'utf8'))
    own.links.train = [at('pair.parquet'), { link: at('drive.up'), downMbps: 3, rttMs: 20 }]
    writeFileSync(at('own.scenario.yaml'), JSON.stringify(own))
    const trained = [
      '--scenario',
      at('own.scenario.yaml'),
      '--seeds',
      '1',
      '--requests',
      '3',
      '--links',
      'train',
    ]
    expect((await edgewise('eval', 'edge-only', ...trained)).err).toBe('')
  })

  it('trace show and eval pair recordings as link replay does', async () => {
    const shown = await edgewise('trace', 'show', pair, '--rtt-ms', '40')
    expect(shown.out).toMatch(/drive\.up \+ walk\.down[^]*note +rtt: constant 40 ms, declared/)
    const found = await edgewise('eval', 'edge-only', ...small, '--links', pair, '--rtt-ms', '40', '--json')
    expect(found.err).toBe('')
    expect(JSON.parse(found.out)).toMatchObject({ links: 'given' })
  })

  it.each([
    [['trace', 'show', 'constant:up=10,down=40,rtt=30'], /uplink[^]*up to 10/],
    [['trace', 'show', 'constant:up=10,down=40,rtt=30', '--json'], /"upBitsPerSecond":/],
    [['trace', 'stats', at('drive.up')], /1\.2/],
    [['eval', 'edge-only', ...small, '--links', 'constant:up=10,down=40,rtt=30'], /edge-only/],
  ])('edgewise %j', async (argv, message) => {
    const { code, out, err } = await edgewise(...argv)
    expect(err).toBe('')
    expect(out).toMatch(message)
    expect(code).toBe(0)
  })

  it.each([
    [['eval', 'edge-only', ...small, '--links', pair], /link: rtt[^]*--rtt-ms/],
    [['eval', 'edge-only', ...small, '--rtt-ms', '40'], /--rtt-ms[^]*no --links/],
    [['eval', 'edge-only', ...small, '--links', 'moon'], /--links/],
    [
      [
        'trace',
        'import',
        'constant:up=1,down=1,rtt=1',
        '--out',
        'x.parquet',
        '--origin',
        'x',
        '--licence',
        'x',
      ],
      /needs no import/,
    ],
  ])('edgewise %j is refused', async (argv, message) => {
    const { code, err } = await edgewise(...argv)
    expect(code).toBe(2)
    expect(err).toMatch(message)
  })
})
