import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's root; every script works from any current directory. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Exit code after Ctrl-C. */
export const INTERRUPTED = 130

/** Path of a module inside node_modules. */
export const tool = (...parts) => join(root, 'node_modules', ...parts)

/**
 * Runs a program in the root and resolves to { code, output }. `quiet` collects its output instead of
 * showing it. On Ctrl-C the child hears the signal too (one terminal);
 * we wait for it to end, and the code is INTERRUPTED whatever it says.
 */
export function runProgram(command, args, { quiet = false, env = process.env } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      env,
      stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    })
    const chunks = []
    child.stdout?.on('data', (chunk) => chunks.push(chunk))
    child.stderr?.on('data', (chunk) => chunks.push(chunk))
    const forward = (signal) => child.kill(signal)
    let interrupted = false
    const wait = () => (interrupted = true)
    process.on('SIGINT', wait)
    process.on('SIGTERM', forward)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      process.off('SIGINT', wait)
      process.off('SIGTERM', forward)
      const ended = signal === null ? code : 128 + constants.signals[signal]
      resolve({ code: interrupted ? INTERRUPTED : ended, output: Buffer.concat(chunks).toString('utf8') })
    })
  })
}

/** Runs a JavaScript file with this Node. */
export const runNode = (args, options) => runProgram(process.execPath, args, options)

/** Runs npm, by the npm that called us where there is one. */
export function runNpm(args, options) {
  const npm = process.env.npm_execpath
  if (npm !== undefined && /\.c?js$/.test(npm)) return runNode([npm, ...args], options)
  return runProgram(process.platform === 'win32' ? 'npm.cmd' : 'npm', args, options)
}
