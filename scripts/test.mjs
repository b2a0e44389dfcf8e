// `npm test`: install, build, types, lint, format, tests. The last line is the count, alone on its line.
// Arguments go to vitest, and lint and format are left out: `npm test -- test/plan`.
// `--slow` (npm run test:slow) runs the long forms of some tests.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { INTERRUPTED, runNode, tool } from './process.mjs'
import { setup } from './setup.mjs'

/** What `npm run check` runs, too. */
const CHECKS = {
  types: [tool('typescript', 'bin', 'tsc'), '--noEmit', '--pretty', 'false'],
  lint: [tool('eslint', 'bin', 'eslint.js'), '.'],
  format: [tool('prettier', 'bin', 'prettier.cjs'), '--check', '--log-level', 'warn', '.'],
}

/** Options of vitest begin with a dash; what does not names the tests to run. */
const isPath = (arg) => !arg.startsWith('-')

async function main(args) {
  const ready = await setup()
  if (ready !== 0) return ready
  const checks = []
  for (const [name, program] of Object.entries(args.some(isPath) ? { types: CHECKS.types } : CHECKS)) {
    const { code } = await runNode(program)
    if (code === INTERRUPTED) return INTERRUPTED
    checks.push({ name, passed: code === 0 })
  }
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-test-'))
  try {
    const result = join(folder, 'result.json')
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${result}`]
    const tests = await runNode([tool('vitest', 'vitest.mjs'), 'run', ...reporters, ...args])
    if (tests.code === INTERRUPTED) return INTERRUPTED
    return close(count(result, tests.code), checks)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Counts tests; a file that could not be loaded, and a run that failed for no counted reason, are failures. */
function count(path, exitCode) {
  let report
  try {
    report = JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return { passed: 0, failed: 1, skipped: 0 }
  }
  const broken = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  )
  const failed = report.numFailedTests + broken.length
  return {
    passed: report.numPassedTests,
    failed: failed === 0 && exitCode !== 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  }
}

/** Each check counts as one test. */
function close({ passed, failed, skipped }, checks) {
  const broken = checks.filter((check) => !check.passed)
  for (const { name } of broken) console.log(`${name}: failed (see above)`)
  const total = { passed: passed + checks.length - broken.length, failed: failed + broken.length }
  console.log(`${total.passed} passed, ${total.failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  return total.failed === 0 ? 0 : 1
}

const args = process.argv.slice(2)
if (args.includes('--slow')) process.env.EDGEWISE_SLOW = '1'
process.exit(await main(args.filter((arg) => arg !== '--slow')))
