import { readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { generationJsonSchema, generationsJsonSchema, type GenerationJson } from '../../src/cli/json/split.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { writeLlamaDirectory } from '../../src/model/weights/writeDirectory.ts'
import { randomSource } from '../model/support.ts'
import { recordIo } from './io.ts'
import {
  another,
  at,
  CACHE,
  edgewise,
  model,
  NEW,
  openCloud,
  PROMPT,
  removeWorld,
  spec,
  start,
} from './splitWorld.ts'

afterAll(removeWorld)

describe('two sides of one model', () => {
  let cloud: Awaited<ReturnType<typeof openCloud>>
  let whole: GenerationJson
  const edge = (...more: string[]) =>
    edgewise('edge', '--model', model, '--cloud', cloud.address, ...CACHE, ...NEW, ...more)
  const json = async (...more: string[]): Promise<GenerationJson> => {
    const { code, out, err } = await edge(...PROMPT, '--json', ...more)
    expect(code, err).toBe(0)
    return generationJsonSchema.parse(JSON.parse(out))
  }

  beforeAll(async () => {
    cloud = await openCloud()
    whole = await json('--plan', 'edge')
  })
  afterAll(async () => {
    await cloud.stop()
  })

  it('says where it listens and what it holds', () => {
    expect(cloud.listening).toMatchObject({
      host: '127.0.0.1',
      model: 'small',
      precision: 'fp32',
      maxBatch: 8,
    })
  })

  it.each(['cloud', 'cut:1', 'cut:0', 'cut:2', 'split:0.34', 'split:1@32'])(
    'gives the text of the whole model, split by %s',
    async (plan) => {
      const split = await json('--plan', plan)
      expect(split.tokens).toEqual(whole.tokens)
      expect(split).toMatchObject({ text: whole.text, end: 'length', nearTies: whole.nearTies })
    },
  )

  it('says what was not measured: no bytes without a cloud, no time per token for one token', async () => {
    expect(whole.bytes).toEqual({ up: 0, down: 0 })
    const alone = await edgewise(
      'edge',
      '--model',
      model,
      ...CACHE,
      ...PROMPT,
      '--plan',
      'edge',
      '--json',
      ...NEW,
    )
    expect(generationJsonSchema.parse(JSON.parse(alone.out))).toMatchObject({
      tokens: whole.tokens,
      bytes: null,
    })
    const one = await json('--plan', 'cut:1', '--max-new-tokens', '1')
    expect(one.timing.tpotSeconds).toBeNull()
    expect(one.timing.ttftSeconds).toBe(one.timing.endToEndSeconds)
  })

  it('reads plans that commands print, and gives them back', async () => {
    const { plan } = await json('--plan', 'split:0.34@8')
    expect(plan.layers.map(({ headsOnCloud }) => headsOnCloud)).toEqual([
      [0, 1],
      [0, 1],
    ])
    for (const [name, value] of Object.entries({
      bare: plan,
      inside: { plan },
      answer: { optimum: { plan } },
    })) {
      writeFileSync(at(`${name}.json`), JSON.stringify(value))
      expect((await json('--plan', at(`${name}.json`))).plan).toEqual(plan)
    }
  })

  it('leaves early, alone and asking', async () => {
    const alone = await json('--plan', 'exit:1@0.8:standalone')
    expect(alone.bytes).toEqual({ up: 0, down: 0 })
    expect((await json('--plan', 'exit:1@1')).tokens).toEqual(whole.tokens)
    expect((await json('--plan', 'exit:1@0.000001')).tokens).toEqual(alone.tokens)
  })

  it('prints text as it comes, from any kind of prompt', async () => {
    writeFileSync(at('prompt.txt'), 'the one')
    const ids = await edge('--plan', 'cut:1', '--prompt-file', at('prompt.txt'))
    expect(ids.out).toBe(`${whole.text}\n`)
    const input = async function* () {
      yield Buffer.from('the ')
      yield Buffer.from('one\n')
    }
    const argv = ['edge', '--model', model, '--cloud', cloud.address, ...CACHE, ...NEW, '--plan', 'cloud']
    const piped = start(argv, { input: () => input(), isTerminal: true })
    expect(await piped.code).toBe(0)
    const [text, summary] = piped.io.out().split('\n')
    expect(text).toBe(whole.text)
    expect(summary).toMatch(/^12 tokens, TTFT .* near-ties, .* up, .* down$/)
  })

  it('carries out several requests, each as if alone', async () => {
    writeFileSync(at('prompts.txt'), 'the one\n\nno\n')
    const argv = ['--plan', 'cut:1', '--prompts', at('prompts.txt'), '--count', '3', '--json']
    const { code, out, err } = await edge(...argv)
    expect(code, err).toBe(0)
    const { requests, bytes } = generationsJsonSchema.parse(JSON.parse(out))
    expect(requests).toHaveLength(6)
    for (const request of requests.slice(0, 3)) expect(request.tokens).toEqual(whole.tokens)
    expect(requests[5].tokens).toEqual(requests[3].tokens)
    expect(bytes!.up).toBeGreaterThan(0)
    const printed = await edge('--plan', 'cut:1', ...PROMPT, '--count', '2')
    expect(printed.out.split('\n').sort()).toEqual(['', `[1] ${whole.text}`, `[2] ${whole.text}`])
  })

  it('draws with a seed: the same again, another with another', async () => {
    const sampled = (seed: number) =>
      json(
        '--plan',
        'cut:1',
        '--temperature',
        '2',
        '--top-k',
        '40',
        '--top-p',
        '0.99',
        '--seed',
        String(seed),
      )
    const first = await sampled(3)
    expect((await sampled(3)).tokens).toEqual(first.tokens)
    expect((await sampled(4)).tokens).not.toEqual(first.tokens)
  })

  it.each(['cut:1@8', 'split:0.34', 'cloud', 'exit:1@1', 'exit:1@0.8:standalone', 'edge'])(
    'explains %s: every message has a sender and a receiver, bytes are those of the connection',
    async (plan) => {
      const { events, bytes } = await json('--plan', plan, '--explain')
      const of = (kind: string) => events!.filter((event) => event.kind === kind)
      const sum = (side: string) =>
        of('send')
          .filter((event) => event.side === side)
          .reduce((total, event) => total + event.bytes, 0)
      expect(bytes!.down).toBe(sum('cloud'))
      expect(bytes!.up).toBeGreaterThanOrEqual(sum('edge'))
      for (const event of [...of('load'), ...of('compute'), ...of('send')])
        expect(event.endSeconds).toBeGreaterThanOrEqual(event.startSeconds)
      for (const receipt of of('receive')) {
        const sent = of('send').find(
          ({ side, step, position }) =>
            side !== receipt.side && step === receipt.step && position === receipt.position,
        )
        expect(sent?.bytes).toBe(receipt.bytes)
      }
      const { code, out, err } = await edge(...PROMPT, '--plan', plan, '--explain')
      expect(code, err).toBe(0)
      for (const part of ['Prefill: ', 'First decode pass', 'others, mean of 10', 'total', 'waiting'])
        expect(out).toContain(part)
      expect(out).not.toMatch(/NaN|undefined|not measured/)
    },
  )

  it('refuses a cloud with another model, naming both', async () => {
    const argv = [
      'edge',
      '--model',
      another,
      '--cloud',
      cloud.address,
      ...CACHE,
      ...PROMPT,
      '--plan',
      'cloud',
    ]
    const { code, err } = await edgewise(...argv)
    expect(code).toBe(1)
    expect(err).toMatch(/expected the model small \([0-9a-f]{12}\), found another \([0-9a-f]{12}\)/)
  })

  it('ends on Ctrl-C with what it has, and the cloud is told', async () => {
    const argv = ['edge', '--model', model, '--cloud', cloud.address, ...CACHE, ...PROMPT, '--json']
    for (const plan of ['cut:1', 'cloud', 'edge']) {
      const io = recordIo({ clock: systemClock })
      // Interrupts once tokens come: the 40th look at the clock is past the first.
      let looks = 0
      const clock = {
        ...systemClock,
        nowSeconds() {
          looks++
          if (looks === 40) io.interrupt()
          return systemClock.nowSeconds()
        },
      }
      const code = await runCli(
        [...argv, '--plan', plan, '--max-new-tokens', '50'],
        { ...io, clock },
        COMMANDS,
        '0',
      )
      expect(code, io.err()).toBe(130)
      const { tokens, end, timing } = generationJsonSchema.parse(JSON.parse(io.out()))
      expect(tokens.length).toBeLessThan(50)
      expect(end).toBe('interrupted')
      expect(timing.endToEndSeconds).toBeNull()
    }
    expect((await json('--plan', 'cut:1')).tokens).toEqual(whole.tokens)
  })

  it('notes connections, and ends with nothing open', async () => {
    expect(cloud.io.err()).toContain('connection 1 opened: edgewise ')
    const own = await openCloud()
    const running = edgewise(
      'edge',
      '--model',
      model,
      '--cloud',
      own.address,
      ...CACHE,
      ...NEW,
      ...PROMPT,
      '--plan',
      'cut:1',
    )
    await expect.poll(() => own.io.err()).toContain('opened')
    expect(await own.stop()).toBe(130)
    // What was under way may have come to its end or not: it has ended, and the cloud does not listen.
    expect([0, 1]).toContain((await running).code)
    expect(own.io.err()).toContain('connection 1 closed')
    const late = await edgewise(
      'edge',
      '--model',
      model,
      '--cloud',
      own.address,
      ...PROMPT,
      '--plan',
      'cloud',
    )
    expect(late.code).toBe(1)
    expect(late.err).toContain(`start one: edgewise cloud --model ${model} --listen ${own.address}`)
  })
})

describe('what is refused', () => {
  const edge = ['edge', '--model', model, ...CACHE]
  it.each([
    [[...edge, ...PROMPT], '--plan and --bundle'],
    [[...edge, ...PROMPT, '--plan', 'cloud'], '--cloud'],
    [[...edge, ...PROMPT, '--plan', 'exit:1@0.8'], '--cloud'],
    [[...edge, ...PROMPT, '--plan', 'cut:3'], '--plan cut:3'],
    [[...edge, ...PROMPT, '--plan', 'cut:1@7'], '32, 16, 8 or 4 bits'],
    [[...edge, ...PROMPT, '--plan', 'cut:1@8:more'], 'nothing after the bits'],
    [[...edge, ...PROMPT, '--plan', 'split:1.5'], '0..1'],
    [[...edge, ...PROMPT, '--plan', 'exit:1'], 'a threshold'],
    [[...edge, ...PROMPT, '--plan', 'exit:1@0'], 'above 0'],
    [[...edge, ...PROMPT, '--plan', 'exit:1@0.5:sometimes'], 'standalone or collaborative'],
    [[...edge, ...PROMPT, '--plan', 'nonsense'], 'a plan in a word'],
    [[...edge, ...PROMPT, '--plan', join(model, 'config.json')], 'config.json'],
    [[...edge, ...PROMPT, '--bundle', at('nowhere')], 'nowhere'],
    [[...edge, ...PROMPT, '--plan', 'edge', '--ids', '1'], '--prompt and --ids'],
    [[...edge, '--plan', 'edge', '--ids', '100000'], '--ids'],
    [[...edge, '--plan', 'edge'], 'prompt'],
    [[...edge, ...PROMPT, '--plan', 'edge', '--max-new-tokens', '64'], 'the context of small'],
    [[...edge, ...PROMPT, '--plan', 'edge', '--precision', 'int2'], '--precision'],
    [[...edge, ...PROMPT, '--plan', 'edge', '--explain', '--count', '2'], '--explain'],
    [[...edge, ...PROMPT, '--plan', 'cloud', '--cloud', 'nowhere'], '--cloud'],
    [[...edge, ...PROMPT, '--plan', 'cloud', '--cloud', '192.0.2.1:7400'], 'loopback'],
    [['edge', '--model', at('absent'), ...PROMPT, '--plan', 'edge'], 'absent'],
    [['cloud', '--model', model, ...CACHE, '--listen', '0.0.0.0:0'], 'loopback'],
    [['cloud', '--model', model, ...CACHE, '--listen', '127.0.0.1:70000'], '--listen'],
    [['cloud', '--model', model, '--cache', join(model, 'config.json')], '--cache'],
  ])('%j', async (argv, place) => {
    const { code, err } = await edgewise(...argv)
    expect(err).toContain(place)
    expect(code).toBe(2)
  })

  it('a model without exits has none', async () => {
    const source = { ...randomSource({ ...spec, id: 'plain' }, 5, 4), exitLayers: [] }
    writeLlamaDirectory(at('plain'), source, { dtype: 'F32', tokenizerJson: null, stopIds: [] })
    const plain = ['edge', '--model', at('plain'), ...CACHE, '--plan']
    const exit = await edgewise(...plain, 'exit:1@0.8:standalone', '--ids', '1')
    expect(exit.err).toContain('trained without exit heads')
    const text = await edgewise(...plain, 'edge', ...PROMPT)
    expect(text.err).toContain('--ids')
    const ids = await edgewise(...plain, 'edge', '--ids', '1,2,3', '--max-new-tokens', '3')
    expect(ids.out).toMatch(/^\d+ \d+ \d+\n$/)
  })

  it('leaves no temporary folder where the cache cannot be written', async () => {
    writeFileSync(at('file'), '')
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith('edgewise-segments-'))
    const env = { XDG_CACHE_HOME: at('file'), LOCALAPPDATA: at('file') }
    const { io, code } = start(['edge', '--model', model, ...PROMPT, '--plan', 'edge', ...NEW], { env })
    expect(await code, io.err()).toBe(0)
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('edgewise-segments-'))).toEqual(before)
  })
})
