import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { systemClock } from '../../src/core/clock.ts'
import { checkTakes, chooseBenches, figureTable, listBenches } from '../../src/cli/commands/bench.ts'
import type { BenchOptions } from '../../src/cli/commands/bench.ts'
import { csvColumns } from '../../src/cli/commands/trace/load.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { checkProfile } from '../../src/plan/profile/file.ts'
import { PLAIN } from '../../src/report/table.ts'
import { checkLinkModel } from '../../src/trace/markov.ts'
import { recordIo } from './io.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-commands-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))
const at = (name: string): string => join(scratch, name)

async function edgewise(...argv: string[]) {
  const io = recordIo({ clock: systemClock })
  const code = await runCli(argv, io, COMMANDS, '0.0.0')
  return { code, out: io.out(), err: io.err(), json: () => JSON.parse(io.out()) }
}

/** Two minutes of a link that steps between 1 and 4 Mbit/s, as a CSV of ours. */
function writeCsv(path: string): void {
  const rows = Array.from(
    { length: 120 },
    (_, i) => `${i},${i % 20 < 10 ? 1000 : 4000},${i % 20 < 10 ? 80 : 20}`,
  )
  writeFileSync(path, `time_s,uplink_kbps,rtt_ms\n${rows.join('\n')}\n`)
}

describe('edgewise models and devices', () => {
  it('list what is built in, as text and as JSON', async () => {
    const { json } = await edgewise('models', '--json')
    const llama = json().models.find((model: { id: string }) => model.id === 'llama-7b')
    // Touvron et al. 2023, table 2: 6.7 billion.
    expect(llama.parameters / 1e9).toBeCloseTo(6.738, 3)
    // docs/model.md (26) at 2 bytes an element: 32 layers x 32 units x 2 x 128 x 2 bytes, times 512 tokens, is 268 MB.
    expect((llama.fp16KvBytesPerToken * 512) / 1e6).toBeCloseTo(268, 0)
    expect((await edgewise('models')).out).toContain('gpt2-xl')
    const devices = await edgewise('devices', '--json')
    expect(
      devices.json().devices.every((device: { provenance: string }) => device.provenance === 'modelled'),
    ).toBe(true)
  })

  it('show the source of every figure of one device', async () => {
    const { out } = await edgewise('devices', 'raspberry-pi-5')
    expect(out).toContain('bandwidthBytesPerSecond')
    expect(out).not.toContain('\u001b')
  })

  it.each([
    ['models', 'E_NONE.yaml'],
    ['devices', 'nope'],
  ])('%s refuses %s with exit code 2', async (command, id) => {
    const { code, err } = await edgewise(command, id)
    expect(code).toBe(2)
    expect(err).toContain('expected:')
  })

  it('refuse any YAML that is no model with one error, never a stack', async () => {
    const path = at('fuzz.yaml')
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.json()), async (text) => {
        writeFileSync(path, text)
        const { code, err } = await edgewise('models', path)
        expect(code).toBe(2)
        expect(err).toContain(path)
      }),
      { numRuns: 60 },
    )
  })
})

describe('edgewise trace', () => {
  it('imports a recording and describes it the same from the file it wrote', async () => {
    writeCsv(at('a.csv'))
    const made = await edgewise(
      'trace',
      'import',
      at('a.csv'),
      '--out',
      at('a.parquet'),
      '--origin',
      'test',
      '--licence',
      'none',
      '--json',
    )
    expect(made.code, made.err).toBe(0)
    const shown = await edgewise('trace', 'show', at('a.parquet'), '--json')
    const { file, ...summary } = made.json()
    expect(file).toBe(at('a.parquet'))
    expect(shown.json()).toEqual(summary)
    expect(summary.uplink).toMatchObject({
      meanBitsPerSecond: 2.5e6,
      p5BitsPerSecond: 1e6,
      p95BitsPerSecond: 4e6,
      silentShare: 0,
    })
    expect(summary.columns.map((column: { column: string }) => column.column)).toEqual([
      'uplinkBitsPerSecond',
      'rttSeconds',
    ])
    const text = (await edgewise('trace', 'show', at('a.parquet'))).out
    expect(text).toMatch(/uplink {3}[▁▂▃▄▅▆▇█]{72} {2}up to 4\.00 Mbit\/s/)
  })

  it('counts files together', async () => {
    writeCsv(at('b.csv'))
    const { json } = await edgewise('trace', 'stats', at('b.csv'), at('b.csv'), '--json')
    const { files, all } = json()
    expect(files).toHaveLength(2)
    expect(all.uplink.hours).toBeCloseTo(2 * files[0].uplink.hours, 12)
    expect(all.downlink).toBeNull()
  })

  it('writes nothing when the recording is bad, and names the line', async () => {
    writeFileSync(at('bad.csv'), 'time_s,uplink_kbps\n0,100\n1,fast\n')
    const { code, err } = await edgewise(
      'trace',
      'import',
      at('bad.csv'),
      '--out',
      at('bad.parquet'),
      '--origin',
      'x',
      '--licence',
      'y',
    )
    expect(code).toBe(2)
    expect(err).toContain('bad.csv:3')
    expect(readdirSync(scratch).filter((name) => name.startsWith('bad.parquet'))).toEqual([])
  })

  it('fits a synthetic link that says what it is', async () => {
    writeCsv(at('c.csv'))
    const recipe = {
      name: 'stepping-link',
      description: 'a link that steps',
      place: 'nowhere',
      split: 'train',
      composition: 'uplink and RTT together, downlink constant',
      origin: [{ source: 'test', url: 'about:blank', cite: 'none', licence: 'none', used: 'c.csv' }],
      binSeconds: 1,
      lanes: {
        uplink: { chain: 0 },
        downlink: { constantMbps: 20, reason: 'not recorded' },
        rtt: { chain: 0 },
      },
      chains: [{ lanes: ['uplink', 'rtt'], states: 2, recordings: [{ folder: '.', files: '^c.csv$' }] }],
    }
    writeFileSync(at('recipes.yaml'), JSON.stringify({ links: [recipe] }))
    const fit = ['trace', 'fit', at('recipes.yaml')]
    const fitted = await edgewise(...fit, '--recordings', scratch, '--out', at('links'))
    expect(fitted.code, fitted.err).toBe(0)
    const model = checkLinkModel(parse(readFileSync(at('links/stepping-link.yaml'), 'utf8')), 'link')
    expect(model.kind).toBe('synthetic')
    expect(model.chains[0].states.map((state) => state.uplink?.quantilesMbps?.[3])).toEqual([1, 4])
    const sample = await edgewise('trace', 'show', at('links/stepping-link.yaml'), '--seed', '3', '--json')
    expect(new Set(sample.json().sample.downBitsPerSecond)).toEqual(new Set([20e6]))
    expect((await edgewise(...fit, '--recordings', at('none'), '--out', at('x'))).code).toBe(2)
    expect((await edgewise(...fit, 'other-link', '--recordings', scratch, '--out', at('x'))).err).toContain(
      'stepping-link',
    )
  })

  it('reads column declarations', () => {
    expect(csvColumns(['time=ts:ms', 'uplink=a=b:c:kbit/s', 'rtt=3:s'])).toEqual({
      time: { column: 'ts', unit: 'ms' },
      uplink: { column: 'a=b:c', unit: 'kbit/s' },
      rtt: { column: 3, unit: 's' },
    })
    expect(() => csvColumns(['uplink=a:kbit/s'])).toThrow('a time column')
    expect(() => csvColumns(['speed=a:kbit/s'])).toThrow('role=header:unit')
  })
})

describe('edgewise profile', () => {
  it('measures a small model on this machine: every block says measured', async () => {
    const made = await edgewise(
      'profile',
      '--model',
      'tiny',
      '--quick',
      '--budget-seconds',
      '1',
      '--out',
      at('tiny.json'),
      '--json',
    )
    expect(made.code, made.err).toBe(0)
    const profile = checkProfile(JSON.parse(readFileSync(at('tiny.json'), 'utf8')), 'tiny.json')
    expect(made.json()).toEqual({ file: at('tiny.json'), profile })
    expect(profile.blocks.attention.decode.provenance.kind).toBe('measured')
    expect(profile.runtime.name).toMatch(/^onnxruntime/)
    expect((await edgewise('profile', '--show', at('tiny.json'))).out).toContain('FFN second half')
  })

  it('measures and models at the precision asked for, and says which', async () => {
    const common = ['profile', '--model', 'tiny', '--quick', '--budget-seconds', '1'] as const
    const measured = await edgewise(...common, '--precision', 'int4', '--out', at('tiny-int4.json'))
    expect(measured.code, measured.err).toBe(0)
    expect(measured.out).toContain(', int4, 1 thread')
    const profile = checkProfile(JSON.parse(readFileSync(at('tiny-int4.json'), 'utf8')), 'tiny-int4.json')
    expect(profile.precision).toBe('int4')
    expect(profile.blocks.attention.decode.provenance.kind).toBe('measured')
    const model = async (...options: string[]) => {
      const out = ['--out', at('sheet.json'), '--json']
      return (await edgewise('profile', '--model', 'gpt2', '--device', 'a100', ...options, ...out)).json()
        .profile
    }
    const [sheet, int8] = [await model(), await model('--precision', 'int8')]
    expect([sheet.precision, int8.precision]).toEqual(['fp16', 'int8'])
    // Half of the bytes are read.
    expect(int8.blocks.head.value).toBeLessThan(sheet.blocks.head.value)
  })

  it('marks a data sheet as modelled', async () => {
    const { json } = await edgewise(
      'profile',
      '--model',
      'gpt2',
      '--device',
      'a100',
      '--out',
      at('a100.json'),
      '--json',
    )
    expect(json().profile.blocks.ffn.whole.provenance.kind).toBe('modelled')
  })

  it.each([
    [['profile'], '--model'],
    [['profile', '--model', 'gpt9'], 'gpt9'],
    [['profile', '--model', 'tiny', '--engine', 'gpu'], '--engine'],
    [['profile', '--model', 'tiny', '--threads', '0'], '--threads'],
    [['profile', '--model', 'tiny', '--max-tokens', '0'], '--max-tokens'],
    [['profile', '--model', 'tiny', '--precision', 'fp16'], 'one of fp32, int8, int4'],
    [
      ['profile', '--model', 'tiny', '--device', 'a100', '--precision', 'fp8'],
      'one of fp32, fp16, int8, int4',
    ],
  ])('refuses %j', async (argv, place) => {
    const { code, err } = await edgewise(...argv)
    expect(code).toBe(2)
    expect(err).toContain(place)
  })
})

describe('edgewise bench', () => {
  it('runs all that is built, or those that are named', () => {
    for (const name of ['b.js', 'a.js', 'notes.txt']) writeFileSync(at(name), '')
    expect(listBenches(scratch)).toEqual(['a', 'b'])
    expect(listBenches(at('absent'))).toEqual([])
    expect(chooseBenches(['a', 'b'], [])).toEqual(['a', 'b'])
    expect(chooseBenches(['a', 'b'], ['b'])).toEqual(['b'])
    expect(() => chooseBenches(['a'], ['c'])).toThrow('one of a')
    expect(() => chooseBenches([], [])).toThrow('npm run bench')
  })

  it('passes options on to benchmarks that take them, and says so of others', () => {
    const figureOf = (name: string) => ({ name, value: 1, unit: 'us' })
    const takes = { run: ({ models = [] }: BenchOptions) => Promise.resolve(models.map(figureOf)) }
    const none = { run: () => Promise.resolve([]) }
    expect(() => checkTakes(takes, 'a', { models: ['gpt2'] })).not.toThrow()
    expect(() => checkTakes(none, 'a', {})).not.toThrow()
    expect(() => checkTakes(none, 'a', { models: ['gpt2'] })).toThrow('--model')
    expect(() => checkTakes(none, 'a', { full: true })).toThrow('--full')
  })

  it('prints intervals where there are any', () => {
    const plain = { name: 'a', value: 1.5, unit: 'us' }
    expect(figureTable([plain], PLAIN)).toBe('benchmark  value  unit\na           1.50  us')
    const full = { ...plain, name: 'b', low: 1, high: 2, noise: 0.25, verdict: 'fine' }
    expect(figureTable([plain, full], PLAIN)).toMatch(
      /interval.*A\/A.*\n.*\nb +1.50 +us +1 \.\. 2 +0.250 +fine/,
    )
  })
})
