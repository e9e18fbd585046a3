from export_pipeline.cli.entry import main

main()
