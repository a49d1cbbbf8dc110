@echo off
rem @VERSION@ in one file: behind these lines lies a compressed archive with the program and all it needs. The first
rem start unpacks it into a cache folder, later starts only run it. Needs Windows 10 or newer: PowerShell and tar.exe.
setlocal DisableDelayedExpansion
set "FTL_PROGRAM=%~f0"
set "ftl_base=%FTL_CACHE%"
if not defined ftl_base set "ftl_base=%LOCALAPPDATA%\ftl"
set "ftl_app=%ftl_base%\app-@KEY@"
if exist "%ftl_app%\main.js" goto run
set "ftl_part=%ftl_base%\.unpack-@KEY@-%RANDOM%%RANDOM%"
powershell -NoProfile -NonInteractive -ExecutionPolicy Bypass -Command ^
 "$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue'; $part = $env:ftl_part; $code = 0;" ^
 "try {" ^
 "  $in = [IO.File]::OpenRead($env:FTL_PROGRAM);" ^
 "  if ($in.Length -ne @SIZE@) { throw ('this copy is broken, it has ' + $in.Length + ' bytes, expected @SIZE@') };" ^
 "  $null = [IO.Directory]::CreateDirectory($part);" ^
 "  $null = $in.Seek(@HEAD@, 'Begin');" ^
 "  $out = [IO.File]::Create($part + '\app.tar.gz'); $in.CopyTo($out); $out.Close(); $in.Close();" ^
 "  & ($env:SystemRoot + '\System32\tar.exe') -xzf ($part + '\app.tar.gz') -C $part;" ^
 "  if ($LASTEXITCODE -ne 0) { throw 'tar.exe failed, is there room for @MEGABYTES@ MB?' };" ^
 "  [IO.File]::Delete($part + '\app.tar.gz');" ^
 "  try { [IO.Directory]::Move($part, $env:ftl_app) } catch { if (-not [IO.File]::Exists($env:ftl_app + '\main.js')) { throw } }" ^
 "} catch {" ^
 "  [Console]::Error.WriteLine('ftl: cannot unpack to ' + $env:ftl_base + ': ' + $_.Exception.Message);" ^
 "  [Console]::Error.WriteLine('  try: set FTL_CACHE to a folder that can be written to, or copy this file again');" ^
 "  $code = 1" ^
 "};" ^
 "if ([IO.Directory]::Exists($part)) { [IO.Directory]::Delete($part, $true) };" ^
 "exit $code"
if errorlevel 1 exit /b 1
:run
set "DENO_DIR=%ftl_app%\deno-dir"
set "DENO_NO_UPDATE_CHECK=1"
"%ftl_app%\deno.exe" run --quiet --allow-all --no-config --no-lock --no-remote --cached-only --node-modules-dir=manual --no-prompt --unstable-no-legacy-abort "%ftl_app%\main.js" %*
exit /b %errorlevel%
