import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { startProgress } from '../../src/cli/progress.ts'
import { recordIo } from './io.ts'
import { writeSmallTraining } from './smallTraining.ts'

const root = resolve(import.meta.dirname, '../..')
const cli = join(root, 'dist', 'cli.js')
const scratch = mkdtempSync(join(tmpdir(), 'edgewise-cli-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

async function runProcess(args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, args, { cwd: scratch, env: { ...process.env, ...env } })
  const text = { out: '', err: '' }
  child.stdout.on('data', (chunk) => (text.out += String(chunk)))
  child.stderr.on('data', (chunk) => (text.err += String(chunk)))
  const [code] = (await once(child, 'close')) as [number]
  return { code, ...text }
}

describe.skipIf(!existsSync(cli))(
  'the built program (skipped where dist is not built: `npm run build`)',
  () => {
    it('prints its version and help without colour when piped', async () => {
      const version = await runProcess([cli, '--version'])
      const { version: expected } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
      expect(version).toEqual({ code: 0, out: `${expected}\n`, err: '' })
      const help = await runProcess([cli, '--help'], { FORCE_COLOR: '1' })
      expect(help.out).toContain('Usage: edgewise')
      expect(help.out).not.toContain('\u001b')
    })

    it('does not load a native engine for its help', async () => {
      const probe = join(scratch, 'probe.mjs')
      writeFileSync(
        probe,
        `process.argv[2] = '--help'
       process.on('exit', () => {
         const native = process.report.getReport().sharedObjects.filter((name) => /onnxruntime|resvg/.test(name))
         process.stderr.write(JSON.stringify(native))
       })
       await import(${JSON.stringify(cli)})`,
      )
      const result = await runProcess([probe])
      expect(result.code).toBe(0)
      expect(result.err).toBe('[]')
    })

    it('exits 2 on an unknown command', async () => {
      expect((await runProcess([cli, 'nonsense'])).code).toBe(2)
    })

    it('ends with exit code 70 after a defect in the middle of a command, which stops as after Ctrl-C', async () => {
      writeSmallTraining(scratch)
      const out = join(scratch, 'run')
      const args = ['train', join(scratch, 'small.train.yaml'), '--out', out, '--updates', '1000000']
      const probe = join(scratch, 'defect.mjs')
      writeFileSync(
        probe,
        `import { existsSync } from 'node:fs'
       process.argv.splice(2, Infinity, ...${JSON.stringify(args)})
       const timer = setInterval(() => {
         if (!existsSync(${JSON.stringify(out)})) return
         clearInterval(timer)
         throw new Error('a test of defects')
       }, 20)
       await import(${JSON.stringify(cli)})`,
      )
      const { code, err } = await runProcess([probe])
      expect(err).toMatch(/unexpected error \(a defect in edgewise\):\nError: a test of defects/)
      expect(code).toBe(70)
    })
  },
)

describe('progress without a terminal', () => {
  it('prints a line now and then, not one an update', () => {
    const clock = { seconds: 0 }
    const io = recordIo({ clock: { nowSeconds: () => clock.seconds, wallTime: () => '' } })
    const progress = startProgress(io, 'work', 100)
    for (let done = 0; done <= 100; done++) {
      clock.seconds = done * 0.25
      progress.update(done, 'step')
    }
    progress.stop()
    expect(io.err()).toBe('work: 40 %, step\nwork: 80 %, step\n')
  })
})
