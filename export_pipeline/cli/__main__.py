from export_pipeline.cli.app import main

main()
